/** What a model says of itself. */

import type { Preprocessing } from "../images/preprocessing.js";
import type { View } from "../images/views.js";

export const TASKS = ["classification", "regression"] as const;
export type Task = (typeof TASKS)[number];

/** Of the weights of `embed`: float32; stored as float16; int8, with activations in 8 bits as well. */
export const PRECISIONS = ["fp32", "fp16", "int8"] as const;
export type Precision = (typeof PRECISIONS)[number];

/** A measured accuracy, and its 95% confidence interval over episodes, as fractions. */
export interface Accuracy {
  readonly data: string;
  readonly nWay: number;
  readonly nShot: number;
  readonly nQuery: number;
  readonly episodes: number;
  readonly accuracy: number;
  readonly ci95: number;
}

/** What meta-training says of classifiers to come, before any shot is left out; of K shots a class on average. */
export interface Priors {
  /** Images of the classes score `score + scoreOfOneShot / K` on average. */
  readonly score: number;
  readonly scoreOfOneShot: number;
  /** The standard deviation of their scores. */
  readonly scoreSpread: number;
  /** The temperature is exp(`temperature + temperatureOfOneShot / K`) over one less the mean cosine between classes. */
  readonly temperature: number;
  readonly temperatureOfOneShot: number;
}

/** What the exporter fills in and a bundle carries. */
export interface ModelCard {
  readonly name: string;
  readonly task: Task;
  /** How it was trained; nothing depends on it. */
  readonly method: string;
  readonly preprocessing: Preprocessing;
  readonly defaultSteps: number;
  /** How images to adapt to are looked at, beside as they are. */
  readonly supportViews: readonly View[];
  readonly maxWays: number | null;
  readonly maxSupport: number | null;
  readonly precision: Precision;
  readonly trainedOn: string;
  readonly license: string;
  readonly accuracy: readonly Accuracy[];
  /** Null: its classifiers take every image for one of their classes. */
  readonly priors: Priors | null;
}
