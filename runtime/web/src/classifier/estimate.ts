/** The accuracy to expect of a classifier, from the shots that it has right when they are left out. */

import type { LeaveOneOut } from "./leave_one_out.js";

const ERRORS_WITH_TWICE = 0.75; // of the errors, how many are left with twice the shots
const LEAST_TO_DOUBLE = 3; // shots of a class, below which the estimate itself is too low to go on from
const SHOTS_OF_ONE = 1.5; // shots that are left out, for one that were independent

/** What accuracy to expect. */
export interface Estimate {
  /** 0 to 1; an image is asked about with one shot more than were left when a shot was left out. */
  readonly accuracy: number;
  /** Where it is in about 95 of 100 adaptations, 0 to 1. */
  readonly interval: readonly [low: number, high: number];
  /** Shots that were right, and shots that were left out. */
  readonly right: number;
  readonly leftOut: number;
  /** The classes with a single shot, which say nothing of themselves. */
  readonly uncovered: readonly string[];
  /** The accuracy to expect with twice the shots, 0 to 1; null where a class has fewer than three on average. */
  readonly withTwice: number | null;
}

/** The estimate from the answers to shots, and the shots of each class; null where no shot could be left out. */
export function estimate(leftOut: LeaveOneOut, counts: ReadonlyMap<string, number>): Estimate | null {
  const total = leftOut.folds.length;
  if (total === 0) return null;
  const right = leftOut.right.filter(Boolean).length;
  const nShot = [...counts.values()].reduce((sum, count) => sum + count, 0) / counts.size;
  const accuracy = 1 - ((1 - right / total) * nShot) / (nShot + 1);
  const independent = total / SHOTS_OF_ONE;
  return {
    accuracy,
    interval: wilsonInterval(accuracy * independent, independent),
    right,
    leftOut: total,
    uncovered: [...counts].filter(([, count]) => count === 1).map(([label]) => label),
    withTwice: nShot >= LEAST_TO_DOUBLE ? 1 - (1 - accuracy) * ERRORS_WITH_TWICE : null,
  };
}

/** The 95% confidence interval of a share (Wilson 1927), which holds for few images and near 0 and 1 too. */
function wilsonInterval(right: number, total: number): [number, number] {
  const [share, z] = [right / total, 1.96];
  const centre = (share + (z * z) / (2 * total)) / (1 + (z * z) / total);
  const half = (z / (1 + (z * z) / total)) * Math.sqrt((share * (1 - share)) / total + (z * z) / (4 * total * total));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}
