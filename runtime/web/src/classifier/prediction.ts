/** What a classifier says of an image. */

export interface Prediction {
  /** The most probable class, of unknown images too. */
  readonly label: string;
  /** Its probability, 0 to 1, as it is where the image is of one of the classes. */
  readonly confidence: number;
  /** The probability of every class, the most probable first; they add up to 1. */
  readonly scores: ReadonlyMap<string, number>;
  /** Whether the image looks like one of the classes. */
  readonly known: boolean;
  /**
   * The share of images of the classes that look less like one, 0 to 1; an image is known from the share on that may be refused.
   * Null where it was not asked for, or the model has no priors.
   */
  readonly familiarity: number | null;
}

/** The probability of every class, the most probable first: the softmax of logits [N] divided by the temperature. */
export function probabilities(labels: readonly string[], logits: Float32Array, temperature: number): Map<string, number> {
  const most = Math.max(...logits);
  const exponentials = Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  const order = exponentials.map((_, index) => index).sort((one, other) => exponentials[other]! - exponentials[one]!);
  return new Map(order.map((index) => [labels[index]!, exponentials[index]! / total]));
}
