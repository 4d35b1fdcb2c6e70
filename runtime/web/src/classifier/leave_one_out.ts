/** What a model says of each shot when it is adapted without it: the ground of all that a classifier knows about itself. */

import type { EpisodeModel } from "../contract.js";

/** Shots that are left out at most; more are sampled evenly. */
export const MAX_FOLDS = 100;

/** A task: M shots of [D], their classes in 0..nWay-1, and how many steps are taken. */
export interface Task {
  readonly features: readonly Float32Array[];
  readonly labels: readonly number[];
  readonly nWay: number;
  readonly steps: number;
}

/** The answers to F shots, each by what was adapted without it. */
export class LeaveOneOut {
  /**
   * @param folds which shots were left out, indices into the support set.
   * @param labels their classes.
   * @param logits F of float32 [N].
   */
  constructor(
    readonly folds: readonly number[],
    readonly labels: readonly number[],
    readonly logits: readonly Float32Array[],
  ) {}

  /** Whether each answer is right. */
  get right(): boolean[] {
    return this.logits.map((row, fold) => row.indexOf(Math.max(...row)) === this.labels[fold]);
  }

  /** The accuracy to expect, 0 to 1: the share of right answers; null where there is no fold. */
  get accuracy(): number | null {
    const right = this.right;
    return right.length > 0 ? right.filter(Boolean).length / right.length : null;
  }

  /** Of the right classes, in nats. */
  get logProbabilities(): number[] {
    return this.logits.map((row, fold) => {
      const most = Math.max(...row);
      const sum = row.reduce((total, logit) => total + Math.exp(logit - most), 0);
      return row[this.labels[fold]!]! - most - Math.log(sum);
    });
  }
}

/**
 * Adapt without one shot, classify it, and so on through the support set.
 *
 * A class with a single shot cannot spare it and is passed over. Of more shots than `most` every k-th is left out.
 */
export async function leaveOneOut(model: EpisodeModel, task: Task, most = MAX_FOLDS): Promise<LeaveOneOut> {
  const folds = foldsOf(task.labels, most);
  const logits: Float32Array[] = [];
  for (const shot of folds) {
    const kept = task.labels.map((_, index) => index).filter((index) => index !== shot);
    logits.push(await logitsWithout(model, task, kept, shot));
  }
  return new LeaveOneOut(folds, folds.map((shot) => task.labels[shot]!), logits);
}

/** What is said of a shot by what is adapted to those that are kept, float32 [N]. */
export async function logitsWithout(
  model: EpisodeModel,
  { features, labels, nWay, steps }: Task,
  kept: readonly number[],
  shot: number,
): Promise<Float32Array> {
  const rows = kept.map((index) => features[index]!);
  const { state } = await model.adapt(rows, kept.map((index) => labels[index]!), nWay, steps);
  const [logits] = await model.predict([features[shot]!], state);
  return logits!;
}

/** How many times each of 0..nWay-1 is among the labels. */
export function countsOf(labels: readonly number[], nWay: number): number[] {
  const counts = new Array<number>(nWay).fill(0);
  for (const label of labels) counts[label]!++;
  return counts;
}

function foldsOf(labels: readonly number[], most: number): number[] {
  const counts = countsOf(labels, Math.max(-1, ...labels) + 1);
  const candidates = labels.map((_, index) => index).filter((index) => counts[labels[index]!]! > 1);
  const every = Math.ceil(candidates.length / most) || 1;
  return candidates.filter((_, position) => position % every === 0);
}
