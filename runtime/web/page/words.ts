/** How things are said. */

import { OTHER, type Estimate, type State } from "./backend";
import type { Draft } from "./store";

/** A number and its noun. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

export function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}

/** A class as one reads it. */
export function className(label: string): string {
  return label === OTHER ? "None of these" : label;
}

/** The classes that have a name and a photo. */
export function classesReady(drafts: readonly Draft[]): readonly Draft[] {
  return drafts.filter((draft) => draft.label && draft.photos.length > 0);
}

/** What is still to do before something can be learned; empty where it can. */
export function stillToDo(state: State, drafts: readonly Draft[]): string {
  const waiting = drafts.filter((draft) => draft.label || draft.photos.length > 0);
  if (waiting.some((draft) => !draft.label)) return "Name every class that has photos.";
  const alone = waiting.find((draft) => draft.photos.length === 0);
  if (alone) return `Give ${className(alone.label)} a photo or more.`;
  const labels = new Set(waiting.map((draft) => draft.label));
  if (labels.size < waiting.length) return "Two classes have one name; give each its own.";
  if (waiting.some((draft) => state.classes.some((one) => one.label === draft.label))) {
    return "A class has the name of one that is taught already; give it its own.";
  }
  labels.delete(OTHER);
  if (state.kind === "model" && labels.size < 2) return "Two classes or more, each with a name and a photo.";
  return waiting.length === 0 ? "Nothing new to learn." : "";
}

/** What the leave-one-out estimate says. */
export function expectation(estimate: Estimate | null): string {
  if (!estimate) return "A second photo of each class gives an estimate of the accuracy.";
  const { accuracy, low, high, right, leftOut } = estimate;
  return `Expect about ${percent(accuracy)} (${percent(low)} to ${percent(high)}): ${right} of ${plural(leftOut, "photo")} right when left out.`;
}

/** A loss to three digits, as the command line says it. */
export function loss(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** A value to as many digits as its interval lets one believe. */
export function valueOf(value: number, low: number, high: number): string {
  const width = high - low;
  const digits = width > 0 ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(width)))) : 3;
  return value.toFixed(digits);
}
