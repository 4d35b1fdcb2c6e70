/** What became of a support set: the edits that led to it, and back. */

import { type Edit, fingerprint, type History, MAX_EDITS, type SupportImage } from "../bundle/history_json.js";
import { DataError } from "../errors.js";
import { SupportSet } from "./support.js";

/** A support set, and the history that led to it. */
export interface Step {
  readonly history: History;
  readonly support: SupportSet;
}

/** The history with one more edit; what was undone before it is forgotten. */
export function recorded(history: History, what: string, before: SupportSet, after: SupportSet): History {
  const lost = missing(before.images, after.images);
  const gained = missing(after.images, before.images);
  if (lost.length + gained.length === 0) throw new DataError(`${what}: that would change nothing.`);
  const edit: Edit = { what, at: `${new Date().toISOString().slice(0, 19)}Z`, lost, gained };
  const edits = [...history.edits.slice(0, history.done), edit].slice(-MAX_EDITS);
  return { edits, done: edits.length };
}

/** One edit back. Throws DataError where there is none. */
export function undone({ edits, done }: History, support: SupportSet): Step {
  const edit = edits[done - 1];
  if (!edit) throw new DataError("there is no edit to undo.");
  return { history: { edits, done: done - 1 }, support: changed(support, edit.gained, edit.lost) };
}

/** The edit that was undone last, again. Throws DataError where there is none. */
export function redone({ edits, done }: History, support: SupportSet): Step {
  const edit = edits[done];
  if (!edit) throw new DataError("there is no undone edit to do again.");
  return { history: { edits, done: done + 1 }, support: changed(support, edit.lost, edit.gained) };
}

/** The images of one support set that another has not, equal ones counted. */
function missing(of: readonly SupportImage[], than: readonly SupportImage[]): SupportImage[] {
  const left = new Map<string, number>();
  for (const image of than) left.set(identity(image), (left.get(identity(image)) ?? 0) + 1);
  return of.filter((image) => {
    const count = left.get(identity(image)) ?? 0;
    left.set(identity(image), count - 1);
    return count <= 0;
  });
}

function changed(support: SupportSet, lost: readonly SupportImage[], gained: readonly SupportImage[]): SupportSet {
  return SupportSet.of([...missing(support.images, lost), ...gained]);
}

function identity(image: SupportImage): string {
  return [image.label, image.sha256, image.name, fingerprint(image.features)].join("\n");
}
