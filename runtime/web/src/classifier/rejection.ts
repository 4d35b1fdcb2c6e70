/**
 * None of these: how much an image looks like one of a classifier's classes, told from its support set.
 *
 * An image is as familiar as two things say together: the cosine to the nearest prototype, and how far the largest logit is above
 * the mean of the logits. The cosine counts from what shots of different classes have in common. Where there are photos of no
 * class, an image is the less familiar the more it looks like one of them.
 */

import type { Priors } from "../bundle/card.js";
import { countsOf, type LeaveOneOut } from "./leave_one_out.js";

/** The share of images of the classes that may be refused, where nothing else is said. */
export const UNKNOWN_AT = 0.05;

const COMMON = 0.85; // of the mean cosine between classes, how much is taken for what all classes have in common
const LOGIT_SHARE = 0.25; // of the logits beside the cosine, with many shots; of a single one they say what the cosine says
const OTHER_SHARE = 0.35; // of the cosine to the nearest photo of no class, where there are any
const PRIOR_SHOTS = 25; // shots that a prior counts for

/** Scores images by how much they look like one of the classes. */
export class Likeness {
  /** The cosine that counts for nothing. */
  readonly #common: number;
  /** Of the largest logit, above the mean of the logits. */
  readonly #logitWeight: number;

  /**
   * @param prototypes the mean of the shots of each class, each shot brought to length 1, N of [D]; divided by the length that it
   *     would have with as many shots as the classes have on average, so that a class with few is not unlike.
   * @param lengths those, [N].
   * @param between the mean cosine between shots of different classes.
   * @param nShot shots of a class, on average.
   * @param ownLogit how far the logit of a shot's own class is above the mean of its logits, on average.
   * @param others the photos of no class, each brought to length 1; Q of [D].
   */
  private constructor(
    readonly prototypes: readonly Float64Array[],
    readonly lengths: readonly number[],
    readonly between: number,
    readonly nShot: number,
    readonly ownLogit: number,
    readonly others: readonly Float64Array[],
  ) {
    this.#common = COMMON * between;
    this.#logitWeight = ownLogit > 0 ? (LOGIT_SHARE * (1 - 1 / nShot)) / ownLogit : 0;
  }

  /** That of a support set, M shots of [D] and their classes, and photos of no class, Q of [D]. */
  static of(
    features: readonly Float32Array[],
    labels: readonly number[],
    ownLogit: number,
    others: readonly Float32Array[],
  ): Likeness {
    const nWay = Math.max(...labels) + 1;
    const counts = countsOf(labels, nWay);
    const means = counts.map(() => new Float64Array(features[0]!.length));
    features.forEach((row, shot) => {
      const mean = means[labels[shot]!]!;
      unit(row).forEach((value, at) => (mean[at]! += value));
    });
    means.forEach((mean, label) => mean.forEach((sum, at) => (mean[at] = sum / counts[label]!)));
    const squares = means.map((mean) => dot(mean, mean));
    // The mean cosine between shots of the class; of those alone in theirs, that of the other classes.
    const within = squares.map((square, label) => (counts[label]! * square - 1) / Math.max(counts[label]! - 1, 1));
    const several = within.filter((_, label) => counts[label]! > 1);
    const ofAlone = several.length > 0 ? average(several) : 1;
    const nShot = labels.length / nWay;
    const lengths = within.map((found, label) => {
      const cosine = counts[label] === 1 ? ofAlone : found;
      return Math.sqrt(Math.max(cosine + (1 - cosine) / nShot, 1e-12));
    });
    const between = betweenClasses(means);
    const prototypes = means.map((mean, label) => mean.map((value) => value / lengths[label]!));
    return new Likeness(prototypes, lengths, between, nShot, ownLogit, others.map(unit));
  }

  /** Of an image, features [D] and logits [N]: higher where it looks more like a class. */
  score(features: Float32Array, logits: Float32Array): number {
    const seen = unit(features);
    return this.#score(this.prototypes.map((prototype) => dot(seen, prototype)), logits) - this.strangeness(features);
  }

  /** Of the shots of its support set, each as if it were not one of them. */
  leftOutScores(features: readonly Float32Array[], labels: readonly number[], leftOut: LeaveOneOut): number[] {
    const counts = countsOf(labels, this.prototypes.length);
    return leftOut.folds.map((shot, fold) => {
      const [seen, own] = [unit(features[shot]!), leftOut.labels[fold]!];
      const cosines = this.prototypes.map((prototype) => dot(seen, prototype));
      const [count, length] = [counts[own]!, this.lengths[own]!];
      cosines[own] = (cosines[own]! * length * count - dot(seen, seen)) / (count - 1) / length;
      return this.#score(cosines, leftOut.logits[fold]!) - this.strangeness(features[shot]!);
    });
  }

  /** What an image scores less for looking like a photo of no class; 0 where there is none. */
  strangeness(features: Float32Array): number {
    if (this.others.length === 0) return 0;
    const seen = unit(features);
    const nearest = Math.max(...this.others.map((other) => dot(seen, other)));
    return (OTHER_SHARE / (1 - this.#common)) * (nearest - this.#common);
  }

  #score(cosines: readonly number[], logits: Float32Array): number {
    const nearest = (Math.max(...cosines) - this.#common) / (1 - this.#common);
    return nearest + this.#logitWeight * (Math.max(...logits) - average(logits));
  }
}

/** How far the logit of its own class is above the mean of a shot's logits, on average; logits M of [N], and M labels. */
export function ownLogit(logits: readonly Float32Array[], labels: readonly number[]): number {
  return Math.max(average(logits.map((row, shot) => row[labels[shot]!]! - average(row))), 0);
}

/** The mean cosine between shots of different classes, from the means of shots of length 1. */
function betweenClasses(means: readonly Float64Array[]): number {
  const total = means[0]!.map((_, at) => means.reduce((sum, mean) => sum + mean[at]!, 0));
  const own = means.reduce((sum, mean) => sum + dot(mean, mean), 0);
  return (dot(total, total) - own) / (means.length * (means.length - 1));
}

/** The mean and standard deviation of scores to expect of images of the classes, from those of shots that were left out. */
export function knownScores(
  scores: readonly number[],
  nShot: number,
  priors: Priors,
  strangeness: number,
): { mean: number; spread: number } {
  let mean = priors.score + priors.scoreOfOneShot / nShot - strangeness;
  let variance = priors.scoreSpread ** 2;
  const total = scores.length + PRIOR_SHOTS;
  if (scores.length > 0) {
    const found = average(scores);
    const spread = average(scores.map((score) => (score - found) ** 2));
    mean = (scores.length * found + PRIOR_SHOTS * mean) / total;
    variance = (scores.length * spread + PRIOR_SHOTS * variance) / total;
  }
  return { mean, spread: Math.sqrt(variance) };
}

/** The share of images of the classes that score less, 0 to 1, taken for a logistic distribution. */
export function familiarity(score: number, mean: number, spread: number): number {
  const scale = Math.max((Math.sqrt(3) / Math.PI) * spread, 1e-9);
  return 1 / (1 + Math.exp(-Math.min(Math.max((score - mean) / scale, -700), 700)));
}

/** The mean of numbers. */
export function average(numbers: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < numbers.length; at++) sum += numbers[at]!;
  return sum / numbers.length;
}

function unit(features: Float32Array): Float64Array {
  const wide = Float64Array.from(features);
  const length = Math.max(Math.sqrt(dot(wide, wide)), 1e-12);
  return wide.map((value) => value / length);
}

function dot(one: Float64Array, other: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < one.length; at++) sum += one[at]! * other[at]!;
  return sum;
}
