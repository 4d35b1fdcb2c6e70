/** What a model can be adapted to. */

import { isLine } from "../bundle/strict_json.js";
import { MAX_STEPS } from "../contract.js";
import { BundleError, DataError, EdgeAdaptError } from "../errors.js";
import type { Graphs } from "../graphs.js";
import { quoted } from "../words.js";

/** Classes that `adapt` takes at most. */
const MAX_WAYS = 200;

/** Throws DataError unless the model can adapt to classes with so many images each, BundleError if it does not classify. */
export function checkClasses(graphs: Graphs, counts: ReadonlyMap<string, number>): void {
  const { name, task, maxWays, maxSupport } = graphs.manifest;
  if (task !== "classification") {
    throw new BundleError(`${graphs.bundle.path} is a ${task} model, which knows no classes; take another.`);
  }
  if (counts.size < 2) {
    const found = [...counts.keys()].join(", ") || "none";
    throw new DataError(`adapting needs two classes or more (${found} given); add images of something else.`);
  }
  let total = 0;
  for (const [label, count] of counts) {
    if (!label || !isLine(label)) {
      throw new DataError(`${quoted(label)} cannot be a class name, which is one line of text; rename the class.`);
    }
    if (count === 0) throw new DataError(`class ${quoted(label)} has no images; add some or leave the class out.`);
    total += count;
  }
  const ways = Math.min(maxWays ?? MAX_WAYS, MAX_WAYS);
  if (counts.size > ways) {
    throw new DataError(`there are ${counts.size} classes and ${name} takes at most ${ways}; leave some out.`);
  }
  if (maxSupport !== null && total > maxSupport) {
    throw new DataError(`there are ${total} support images and ${name} takes at most ${maxSupport}; leave some out.`);
  }
}

/** The number of steps to take; throws EdgeAdaptError for one that the model cannot. */
export async function checkedSteps(graphs: Graphs, steps?: number): Promise<number> {
  if (steps === undefined) return graphs.manifest.defaultSteps;
  if (!Number.isInteger(steps) || steps < 0 || steps > MAX_STEPS) {
    throw new EdgeAdaptError(`${steps} steps are not possible; give a whole number, 0 or more, ${MAX_STEPS} at most.`);
  }
  if (steps > 0 && !(await graphs.takesSteps())) {
    throw new EdgeAdaptError(`${graphs.manifest.name} takes no gradient steps; leave the number of steps out.`);
  }
  return steps;
}
