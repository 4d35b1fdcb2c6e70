/** The temperature that makes confidence hold: Guo et al., "On calibration of modern neural networks", ICML 2017. */

import type { Priors } from "../bundle/card.js";
import { LEAST_TEMPERATURE, MOST_TEMPERATURE } from "../bundle/classifier_json.js";
import type { LeaveOneOut } from "./leave_one_out.js";

const PRIOR_DEVIATION = 0.3; // of the logarithm of the temperature
const CANDIDATES = 121;

/**
 * What to divide logits by.
 *
 * @param leftOut the logits of shots without which the model was adapted; none or more.
 * @param nShot shots of a class, on average.
 * @param between the mean cosine between classes; where they are alike, one shot says less.
 */
export function temperature(leftOut: LeaveOneOut, nShot: number, between: number, priors: Priors): number {
  const unbounded = Math.exp(priors.temperature + priors.temperatureOfOneShot / nShot) / Math.max(1 - between, 0.05);
  const expected = Math.min(Math.max(unbounded, LEAST_TEMPERATURE), MOST_TEMPERATURE);
  if (leftOut.folds.length === 0) return expected;
  const [first, last] = [Math.log(LEAST_TEMPERATURE), Math.log(MOST_TEMPERATURE)];
  const step = (last - first) / (CANDIDATES - 1);
  let [best, least] = [expected, Number.POSITIVE_INFINITY];
  for (let index = 0; index < CANDIDATES; index++) {
    const candidate = Math.exp(index === CANDIDATES - 1 ? last : first + index * step);
    const loss = (Math.log(candidate / expected) / PRIOR_DEVIATION) ** 2 / 2 + negativeLogLikelihood(leftOut, candidate);
    if (loss < least) [best, least] = [candidate, loss];
  }
  return best;
}

/** In nats, of the labels of shots that were left out under their logits divided by a temperature. */
function negativeLogLikelihood({ logits, labels }: LeaveOneOut, divisor: number): number {
  return logits.reduce((total, row, fold) => {
    const most = Math.max(...row);
    const scaled = row.map((logit) => logit - most);
    const sum = scaled.reduce((found, logit) => found + Math.exp(logit / divisor), 0);
    return total + Math.log(sum) - scaled[labels[fold]!]! / divisor;
  }, 0);
}
