/** What an adapted bundle holds beyond the model: `classifier.json`, the head state and the support set. */

import { type HeadState, MAX_STEPS } from "../contract.js";
import { BundleError } from "../errors.js";
import { LOOKS, PARTS } from "../images/looks.js";
import { quoted } from "../words.js";
import type { Manifest } from "./manifest.js";
import { described, type NdArray } from "./npy.js";
import { type Dumpable, dumpJson, Fields, LARGEST_FLOAT, loadJson, Real } from "./strict_json.js";

export const SUPPORT_FEATURES = "support/features.npy";
export const SUPPORT_TARGETS = "support/targets.npy";
export const [LEAST_TEMPERATURE, MOST_TEMPERATURE] = [0.05, 20] as const;
/** In place of a label: of a photo of no class, and in regression. */
export const NO_LABEL = -1;

/** The entry that holds the head state's tensor `name`. */
export function headEntry(name: string): string {
  return `head/${name}.npy`;
}

/** The .npy entries of an adapted bundle, in order. */
export function arrayEntries(manifest: Manifest): string[] {
  return [...manifest.headState.map(headEntry), SUPPORT_FEATURES, SUPPORT_TARGETS];
}

/** How many numbers are kept of a shot: D, and in regression those of each part of each look at it. */
export function shotSize(manifest: Manifest): number {
  return manifest.featureSize * (manifest.task === "regression" ? (LOOKS + 1) * PARTS : 1);
}

/** One image of the support set: the index of its label (or `NO_LABEL`), its name and its SHA-256. */
export interface Shot {
  readonly label: number;
  readonly name: string;
  readonly sha256: string;
}

/** What a classifier found out about itself on its support set; of models with priors alone. */
export interface SelfKnowledge {
  /** What logits are divided by. */
  readonly temperature: number;
  /** The mean and standard deviation of the scores of images of its classes. */
  readonly score: number;
  readonly scoreSpread: number;
  /** Of its shots, see `Likeness`. */
  readonly ownLogit: number;
}

/** How far a regressor is off at shots that are left out, in the unit of each of its T values. */
export interface ReadingErrors {
  readonly mean: readonly number[];
  /** Half the width of the interval that is given with an answer. */
  readonly bound: readonly number[];
}

/** What `classifier.json` holds beside the sums of the arrays. */
export interface AdaptationRecord {
  /** The N classes; empty in regression. */
  readonly labels: readonly string[];
  /** The names of the T values that regression gives; empty in classification. */
  readonly targets: readonly string[];
  /** The M images of the support set, in the order of its arrays. */
  readonly shots: readonly Shot[];
  readonly steps: number;
  /** The support loss before each step; empty for a method without steps. */
  readonly losses: readonly number[];
  /** The leave-one-out estimate of the accuracy, a fraction, where there is one. */
  readonly leaveOneOut: number | null;
  readonly selfKnowledge: SelfKnowledge | null;
  /** In regression. */
  readonly errors: ReadingErrors | null;
}

/** An adaptation with its arrays: all that an adapted bundle holds beyond the model. */
export interface Adaptation extends AdaptationRecord {
  /** float32 or int64 of any shape, finite, by the names in the manifest. */
  readonly headState: HeadState;
  /** float32 [M, D], of which regression has more a shot: see `shotSize`. */
  readonly supportFeatures: NdArray;
  /** int64 [M], the shots' labels; in regression float32 [M, T]. */
  readonly supportTargets: NdArray;
}

/** The bytes of `classifier.json`, with the SHA-256 of each array; `path` is the bundle's, for messages. */
export function recordToJson(record: AdaptationRecord, arrays: Readonly<Record<string, string>>, path: string): Uint8Array {
  const known = record.selfKnowledge;
  const value: Dumpable = {
    labels: record.labels,
    targets: record.targets,
    steps: record.steps,
    losses: reals(record.losses),
    leave_one_out: record.leaveOneOut === null ? null : new Real(record.leaveOneOut),
    arrays,
    shots: record.shots.map((shot) => ({ label: shot.label, name: shot.name, sha256: shot.sha256 })),
    ...(known && {
      self_knowledge: {
        temperature: new Real(known.temperature),
        score: new Real(known.score),
        score_spread: new Real(known.scoreSpread),
        own_logit: new Real(known.ownLogit),
      },
    }),
    ...(record.errors && { errors: { mean: reals(record.errors.mean), bound: reals(record.errors.bound) } }),
  };
  return dumpJson(value, `${path}: classifier.json`);
}

function reals(numbers: readonly number[]): Real[] {
  return numbers.map((number) => new Real(number));
}

/** Reads `classifier.json` of the bundle at `path` with this manifest, and the sums of its arrays. Throws BundleError. */
export function recordFromJson(
  data: Uint8Array,
  manifest: Manifest,
  path: string,
): { record: AdaptationRecord; arrays: ReadonlyMap<string, string> } {
  const where = `${path}: classifier.json`;
  const fields = new Fields(loadJson(data, where), where);
  const [labels, targets] = [names(fields, "labels"), names(fields, "targets")];
  if (manifest.task === "regression") {
    if (labels.length > 0 || targets.length === 0) fields.fail("has labels, or lacks targets, and the task is regression");
  } else if (targets.length > 0 || labels.length === 0) {
    fields.fail("has targets, or lacks labels, and the task is classification");
  }
  if (manifest.maxWays !== null && labels.length > manifest.maxWays) {
    fields.fail(`has ${labels.length} labels, and the model takes at most ${manifest.maxWays}`);
  }
  const steps = fields.integer("steps", 0, MAX_STEPS);
  const losses = fields.items("losses").map((loss) => fields.checkNumber(loss, "a loss", -LARGEST_FLOAT, LARGEST_FLOAT));
  if (losses.length > 0 && losses.length !== steps) fields.fail(`has ${losses.length} losses for ${steps} steps`);
  const sums = fields.child("arrays");
  const record: AdaptationRecord = {
    labels,
    targets,
    shots: shotsOf(fields, labels.length, manifest),
    steps,
    losses,
    leaveOneOut: fields.isNull("leave_one_out") ? null : fields.number("leave_one_out", 0, 1),
    selfKnowledge: manifest.priors === null ? null : selfKnowledgeOf(fields.child("self_knowledge")),
    errors: manifest.task === "regression" ? errorsOf(fields.child("errors"), targets.length) : null,
  };
  const arrays = new Map(arrayEntries(manifest).map((name) => [name, sums.sha256(name)]));
  sums.done();
  fields.done();
  return { record, arrays };
}

function selfKnowledgeOf(fields: Fields): SelfKnowledge {
  const found = {
    temperature: fields.number("temperature", LEAST_TEMPERATURE, MOST_TEMPERATURE),
    score: fields.number("score", -LARGEST_FLOAT, LARGEST_FLOAT),
    scoreSpread: fields.number("score_spread", 0, LARGEST_FLOAT),
    ownLogit: fields.number("own_logit", 0, LARGEST_FLOAT),
  };
  fields.done();
  return found;
}

function errorsOf(fields: Fields, count: number): ReadingErrors {
  const [mean, bound] = (["mean", "bound"] as const).map((key) =>
    fields.items(key).map((item) => fields.checkNumber(item, "an error", 0, LARGEST_FLOAT)),
  );
  fields.done();
  if (mean?.length !== count || bound?.length !== count) {
    return fields.fail(`has errors of another number of values than ${count}`);
  }
  return { mean, bound };
}

function names(fields: Fields, key: string): string[] {
  const found = new Set<string>();
  for (const item of fields.items(key)) {
    const name = fields.checkLine(item, `a name in "${key}"`);
    if (found.has(name)) fields.fail(`has ${quoted(name)} twice in "${key}"`);
    found.add(name);
  }
  return [...found];
}

function shotsOf(fields: Fields, nWay: number, manifest: Manifest): Shot[] {
  const shots = fields.items("shots").map((item) => {
    const shot = new Fields(item, `${fields.where} ("shots")`);
    const found = {
      label: shot.integer("label", NO_LABEL, nWay - 1),
      name: shot.line("name", true),
      sha256: shot.sha256("sha256"),
    };
    shot.done();
    return found;
  });
  const classes = new Set(shots.map((shot) => shot.label).filter((label) => label !== NO_LABEL));
  if (shots.length === 0 || classes.size !== nWay) fields.fail("has a label without a shot");
  const count = nWay > 0 ? shots.filter((shot) => shot.label !== NO_LABEL).length : shots.length;
  if (manifest.maxSupport !== null && count > manifest.maxSupport) {
    fields.fail(`has ${count} shots, and the model takes at most ${manifest.maxSupport}`);
  }
  return shots;
}

/** Throws BundleError for support arrays that do not fit the shots or the feature size. */
export function checkSupport(features: NdArray, targets: NdArray, record: AdaptationRecord, manifest: Manifest, path: string): void {
  const count = record.shots.length;
  const isRegression = manifest.task === "regression";
  for (const [entry, array, expected] of [
    [SUPPORT_FEATURES, features, `float32 [${count}, ${shotSize(manifest)}]`],
    [SUPPORT_TARGETS, targets, isRegression ? `float32 [${count}, ${record.targets.length}]` : `int64 [${count}]`],
  ] as const) {
    if (described(array) !== expected) {
      throw new BundleError(`${path}: ${entry} is ${described(array)}, and the shots need ${expected}.`);
    }
  }
  if (!isRegression && record.shots.some((shot, index) => Number(targets.data[index]) !== shot.label)) {
    throw new BundleError(`${path}: ${SUPPORT_TARGETS} disagrees with the labels in classifier.json.`);
  }
}
