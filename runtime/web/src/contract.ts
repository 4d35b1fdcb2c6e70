/** The verbs on arrays, wherever they run, and the limits that all of them keep to. */

import type { NdArray } from "./bundle/npy.js";

/** The named arrays that `adapt` gives and `predict` takes. */
export type HeadState = ReadonlyMap<string, NdArray>;

/** `adapt` and `predict` on arrays, wherever they run. */
export interface EpisodeModel {
  /** Support features, M of [D], and labels [M] in 0..nWay-1 to the head state and the support loss before each step. */
  adapt(
    features: readonly Float32Array[],
    labels: readonly number[],
    nWay: number,
    steps: number,
  ): Promise<{ state: HeadState; losses: Float32Array }>;
  /** Query features, B of [D], and the head state to logits, B of [N]. */
  predict(features: readonly Float32Array[], state: HeadState): Promise<Float32Array[]>;
}

/** Steps of the inner loop at most: far beyond what helps, and few enough that a slip of the finger ends. */
export const MAX_STEPS = 10_000;
