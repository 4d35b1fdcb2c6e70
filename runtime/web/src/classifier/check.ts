/** What in a support set will cost accuracy, and which of its images are the reason. */

import type { EpisodeModel } from "../contract.js";
import { plural } from "../words.js";
import { countsOf, LeaveOneOut, leaveOneOut, logitsWithout, type Task } from "./leave_one_out.js";
import { average } from "./rejection.js";
import { NO_SHA256, OTHER, type SupportSet } from "./support.js";

const SUSPECT = 4; // another class is so many times as probable as the shot's own, from which on it is a suspect
const [ALIKE, ALIKE_CENTRED] = [0.97, 0.93] as const; // cosines of features, and of these less their mean, of near duplicates
const CONFUSED = 0.2; // of the answers to a class's shots, the share of one other class, from which on the two are confused
const TOO_MANY = 3; // times the median number of photos of a class; a class with more outweighs others

/** What there is to find, the worst first. */
const KINDS = ["duplicate across classes", "mislabelled", "few", "confused", "many", "duplicate"] as const;

/** Something that will cost accuracy. */
export interface Finding {
  readonly kind: (typeof KINDS)[number];
  /** What it is and what to do, one line. */
  readonly text: string;
  /** The classes that it is about; of a suspect, its own and the one that it looks like. */
  readonly classes: readonly string[];
  /** The names of the images that it is about, those at fault first. */
  readonly images: readonly string[];
}

/** What the features of a support set say against it, the worst first. */
export async function checkSupport(model: EpisodeModel, support: SupportSet, steps: number): Promise<Finding[]> {
  const { features, targets: labels, length } = support;
  const task = { features, labels, nWay: support.labels.length, steps };
  const found = await leftOutAgain(model, task, await leaveOneOut(model, task, length));
  const findings = [
    ...mislabelled(support, found),
    ...confused(support, found),
    ...counts(support.counts),
    ...duplicates(support),
  ];
  return findings.sort((one, other) => KINDS.indexOf(one.kind) - KINDS.indexOf(other.kind));
}

/** `leaveOneOut` once more: what is wrong at first teaches nothing the second time, if classes can spare it. */
async function leftOutAgain(model: EpisodeModel, task: Task, first: LeaveOneOut): Promise<LeaveOneOut> {
  const { labels, nWay } = task;
  const right = first.right;
  const doubtful = new Set(first.folds.filter((_, fold) => !right[fold]));
  const all = labels.map((_, index) => index);
  const sound = all.filter((index) => !doubtful.has(index));
  if (doubtful.size === 0 || new Set(sound.map((index) => labels[index])).size < nWay) return first;
  const logits: Float32Array[] = [];
  for (const shot of first.folds) {
    const spared = sound.filter((index) => index !== shot);
    const isWhole = countsOf(spared.map((index) => labels[index]!), nWay).every((count) => count > 0);
    logits.push(await logitsWithout(model, task, isWhole ? spared : all.filter((index) => index !== shot), shot));
  }
  return new LeaveOneOut(first.folds, first.labels, logits);
}

function mislabelled(support: SupportSet, found: LeaveOneOut): Finding[] {
  const certainty = found.logProbabilities;
  const wrong = found.folds.map((_, fold) => fold).filter((fold) => {
    const [row, own] = [found.logits[fold]!, found.labels[fold]!];
    return Math.max(...row.filter((_, label) => label !== own)) - row[own]! > Math.log(SUSPECT);
  });
  wrong.sort((one, other) => certainty[one]! - certainty[other]!);
  return wrong.map((fold) => {
    const [image, row] = [support.images[found.folds[fold]!]!, found.logits[fold]!];
    const looks = support.labels[row.indexOf(Math.max(...row))]!;
    const text = `${shown(image)} is labelled ${image.label} and looks like ${looks}`;
    return { kind: "mislabelled", text, classes: [image.label, looks], images: [image.name] };
  });
}

/** Of pairs of classes with two images or more, those of which more than `CONFUSED` of one's answers are the other. */
function confused(support: SupportSet, found: LeaveOneOut): Finding[] {
  const { labels } = support;
  const answers = labels.map(() => new Float64Array(labels.length));
  found.logits.forEach((row, fold) => {
    const most = Math.max(...row);
    const shares = Array.from(row, (logit) => Math.exp(logit - most));
    const total = shares.reduce((sum, share) => sum + share, 0);
    shares.forEach((share, label) => (answers[found.labels[fold]!]![label]! += share / total));
  });
  const folds = countsOf(found.labels, labels.length).map((count) => Math.max(count, 1));
  const pairs = labels.flatMap((_, first) =>
    labels.slice(first + 1).map((_, offset) => {
      const second = first + 1 + offset;
      const share = Math.max(answers[first]![second]! / folds[first]!, answers[second]![first]! / folds[second]!);
      return { share, classes: [labels[first]!, labels[second]!] };
    }),
  );
  return pairs
    .filter(({ share }) => share > CONFUSED)
    .sort((one, other) => other.share - one.share)
    .map(({ share, classes }) => {
      const answered = `${(100 * share).toFixed(0)}% of the answers`;
      const text = `${classes.join(" and ")} will be confused (${answered}); more photos of both help`;
      return { kind: "confused", text, classes, images: [] };
    });
}

function counts(found: ReadonlyMap<string, number>): Finding[] {
  const classes = [...found].filter(([label]) => label !== OTHER);
  const sorted = classes.map(([, count]) => count).sort((one, other) => one - other);
  const middle = (sorted.length - 1) / 2;
  const median = average([sorted[Math.floor(middle)]!, sorted[Math.ceil(middle)]!]);
  return classes.flatMap(([label, count]): Finding[] => {
    if (count === 1) return [{ kind: "few", text: `${label} has a single photo; add 3 or more`, classes: [label], images: [] }];
    if (count <= TOO_MANY * median) return [];
    const text = `${label} has ${count} photos, and half of the classes have ${median} or fewer; add photos of the others`;
    return [{ kind: "many", text, classes: [label], images: [] }];
  });
}

/** Groups of images that are all but one, each named once. */
function duplicates(support: SupportSet): Finding[] {
  const shots = support.images.slice(0, support.length);
  const features = support.features.map((row) => Float64Array.from(row));
  const mean = features[0]!.map((_, at) => average(features.map((row) => row[at]!)));
  const centred = features.map((row) => row.map((value, at) => value - mean[at]!));
  const isAlike = (one: number, other: number): boolean =>
    (cosine(features[one]!, features[other]!) > ALIKE && cosine(centred[one]!, centred[other]!) > ALIKE_CENTRED) ||
    (shots[one]!.sha256 === shots[other]!.sha256 && shots[one]!.sha256 !== NO_SHA256);
  const left = new Set(shots.keys());
  const findings: Finding[] = [];
  for (const index of shots.keys()) {
    if (!left.has(index)) continue;
    const members = [...left].filter((member) => member === index || isAlike(index, member));
    if (members.length < 2) continue;
    for (const member of members) left.delete(member);
    const group = members.map((member) => shots[member]!);
    const classes = [...new Set(group.map((shot) => shot.label))];
    const more = group.length > 4 ? ` and ${group.length - 4} more` : "";
    const named = group.slice(0, 4).map(shown).join(", ") + more;
    const images = group.map((shot) => shot.name);
    if (classes.length > 1) {
      const text = `${named} are all but one photo, and labelled ${classes.join(" and ")}; keep it in one class`;
      findings.push({ kind: "duplicate across classes", text, classes, images });
    } else {
      const text = `${named} of ${classes[0]} are all but one photo, and count as ${plural(group.length, "photo")}`;
      findings.push({ kind: "duplicate", text, classes, images });
    }
  }
  return findings;
}

function cosine(one: Float64Array, other: Float64Array): number {
  let [product, first, second] = [0, 0, 0];
  for (let at = 0; at < one.length; at++) {
    product += one[at]! * other[at]!;
    first += one[at]! ** 2;
    second += other[at]! ** 2;
  }
  return product / Math.max(Math.sqrt(first * second), 1e-24);
}

function shown(image: { readonly name: string; readonly sha256: string }): string {
  return image.name || image.sha256.slice(0, 8);
}
