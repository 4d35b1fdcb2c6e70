/** What a classifier finds out about itself when it is adapted, from its support set alone. */

import type { Priors } from "../bundle/card.js";
import type { SelfKnowledge } from "../bundle/classifier_json.js";
import { temperature } from "./calibration.js";
import type { LeaveOneOut } from "./leave_one_out.js";
import { average, knownScores, Likeness, ownLogit } from "./rejection.js";
import type { SupportSet } from "./support.js";

/**
 * Temperature, and the scores of images of its classes.
 *
 * @param logits what the classifier says of its own shots, M of float32 [N].
 * @param leftOut what it says of them when they are left out.
 */
export function selfKnowledge(
  support: SupportSet,
  logits: readonly Float32Array[],
  leftOut: LeaveOneOut,
  priors: Priors,
): SelfKnowledge {
  const { features, targets } = support;
  const likeness = Likeness.of(features, targets, ownLogit(logits, targets), support.others);
  const scores = likeness.leftOutScores(features, targets, leftOut);
  const strangeness = average(features.map((row) => likeness.strangeness(row)));
  const { mean, spread } = knownScores(scores, likeness.nShot, priors, strangeness);
  return {
    temperature: temperature(leftOut, likeness.nShot, likeness.between, priors),
    score: mean,
    scoreSpread: spread,
    ownLogit: likeness.ownLogit,
  };
}
