/** The edits of a classifier as a bundle keeps them: `history.json`, and the features of the images that came and went. */

import { bytesOf, described, type NdArray, rowsOf, stacked } from "./npy.js";
import { type Dumpable, dumpJson, Fields, LARGEST_FLOAT, loadJson, Real } from "./strict_json.js";

export const HISTORY = "history.json";
export const HISTORY_FEATURES = "history/features.npy";

/** Edits that are kept; of more, the first are forgotten. */
export const MAX_EDITS = 200;

/** An image of a support set. */
export interface SupportImage {
  /** The name of its class, or `OTHER` where it is of none; empty in regression. */
  readonly label: string;
  readonly name: string;
  readonly sha256: string;
  /** float32 [D]. */
  readonly features: Float32Array;
  /** What it reads, in regression: T of them. */
  readonly values: readonly number[];
}

/** One step from a support set to the next. */
export interface Edit {
  /** In words, one line. */
  readonly what: string;
  /** When, in UTC, as ISO 8601 writes it. */
  readonly at: string;
  /** The images that went. */
  readonly lost: readonly SupportImage[];
  /** The images that came; a renamed or corrected one goes and comes. */
  readonly gained: readonly SupportImage[];
}

/** The edits of a classifier, the first to the last; those from `done` on are undone, and can be done again. */
export interface History {
  readonly edits: readonly Edit[];
  readonly done: number;
}

export const NO_HISTORY: History = { edits: [], done: 0 };

/** What tells features from others: their bytes, as a text. */
export function fingerprint(features: Float32Array): string {
  return new TextDecoder("latin1").decode(bytesOf(features));
}

/** The bytes of `history.json`, and the features of its images, each once, float32 [P, D]. */
export function historyToJson(history: History, featureSize: number, path: string): { json: Uint8Array; features: NdArray } {
  const rows = new Map<string, number>();
  const features: Float32Array[] = [];
  const rowOf = (image: SupportImage): number => {
    const key = fingerprint(image.features);
    const row = rows.get(key) ?? features.push(image.features) - 1;
    rows.set(key, row);
    return row;
  };
  const images = (found: readonly SupportImage[]): Dumpable =>
    found.map((image) => ({
      label: image.label,
      name: image.name,
      sha256: image.sha256,
      row: rowOf(image),
      ...(image.values.length > 0 ? { values: image.values.map((value) => new Real(value)) } : {}),
    }));
  const edits = history.edits.map((edit) => ({
    what: edit.what,
    at: edit.at,
    lost: images(edit.lost),
    gained: images(edit.gained),
  }));
  const json = dumpJson({ done: history.done, edits }, `${path}: ${HISTORY}`);
  return { json, features: stacked(features, featureSize) };
}

/** Reads `history.json` of the bundle at `path` with the features of its images, [P, D] of them; T values each in regression. */
export function historyFromJson(data: Uint8Array, array: NdArray, featureSize: number, valueCount: number, path: string): History {
  const fields = new Fields(loadJson(data, `${path}: ${HISTORY}`), `${path}: ${HISTORY}`);
  if (array.dtype !== "float32" || array.shape.length !== 2 || array.shape[1] !== featureSize) {
    return fields.fail(`has features ${described(array)} for float32 of ${featureSize} each`);
  }
  const rows = rowsOf(array.data, featureSize);
  const edits = fields.items("edits", MAX_EDITS).map((item) => {
    const edit = new Fields(item, `${fields.where} ("edits")`);
    const lost = imagesOf(edit, "lost", rows, valueCount);
    const gained = imagesOf(edit, "gained", rows, valueCount);
    const found = { what: edit.line("what"), at: edit.line("at"), lost, gained };
    edit.done();
    if (lost.length + gained.length === 0) fields.fail("has an edit of nothing");
    return found;
  });
  const history = { edits, done: fields.integer("done", 0, edits.length) };
  fields.done();
  if (edits.length === 0) fields.fail("has no edit");
  return history;
}

function imagesOf(edit: Fields, key: string, rows: readonly Float32Array[], valueCount: number): SupportImage[] {
  return edit.items(key).map((item) => {
    const image = new Fields(item, `${edit.where} ("${key}")`);
    const features = rows[image.integer("row", 0, rows.length - 1)]!;
    const [label, name] = [image.line("label", valueCount > 0), image.line("name", true)];
    const given = valueCount > 0 ? image.items("values") : [];
    const values = given.map((value) => image.checkNumber(value, "a value", -LARGEST_FLOAT, LARGEST_FLOAT));
    const sha256 = image.sha256("sha256");
    image.done();
    if (values.length !== valueCount || (label && values.length > 0)) {
      edit.fail(`has an image with a class, or with other than ${valueCount} values, where the task is regression`);
    }
    return { label, name, sha256, features, values };
  });
}
