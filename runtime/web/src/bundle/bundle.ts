/**
 * A bundle: the one file that holds a model, adapted or not, as docs/bundle-format.md writes it down.
 *
 * Whatever is read is checked, and only what is asked for is read: opening reads the zip directory and the manifest.
 */

import { BundleError } from "../errors.js";
import { sha256 } from "../sha256.js";
import { quoted } from "../words.js";
import {
  type Adaptation,
  type AdaptationRecord,
  arrayEntries,
  checkSupport,
  headEntry,
  NO_LABEL,
  recordFromJson,
  recordToJson,
  shotSize,
  SUPPORT_FEATURES,
  SUPPORT_TARGETS,
} from "./classifier_json.js";
import { type Entry, readDirectory, readEntry, writeContainer } from "./container.js";
import { checkGraph } from "./graph_check.js";
import { HISTORY, HISTORY_FEATURES, type History, historyFromJson, historyToJson, NO_HISTORY } from "./history_json.js";
import { type GraphName, GRAPHS, type Manifest, manifestFromJson, manifestToJson } from "./manifest.js";
import { arrayFromNpy, arrayToNpy, type NdArray } from "./npy.js";

const MANIFEST = "manifest.json";
const CLASSIFIER = "classifier.json";
/** The largest size of these entries; arrays have no limit but the file's. */
const MAX_BYTES = new Map<string, number>([
  [MANIFEST, 4 * 1024 ** 2],
  [CLASSIFIER, 16 * 1024 ** 2],
  [HISTORY, 16 * 1024 ** 2],
  ...GRAPHS.map((name) => [name, 1024 ** 3] as const),
]);

/** The bytes of a bundle; each method reads, and throws BundleError for what is damaged. */
export class Bundle {
  readonly #entries: ReadonlyMap<string, Entry>;
  #record: ReturnType<typeof recordFromJson> | null = null;

  private constructor(
    readonly bytes: Uint8Array,
    readonly path: string,
    readonly manifest: Manifest,
    entries: readonly Entry[],
  ) {
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
  }

  /** Reads and checks the zip directory and the manifest, and nothing else, of bytes that messages call `path`. */
  static open(given: Uint8Array, path: string): Bundle {
    const bytes = new Uint8Array(given.buffer, given.byteOffset, given.byteLength); // no Buffer of Node, whose `slice` copies nothing
    const entries = readDirectory(bytes, path);
    const [first] = entries;
    if (first?.name !== MANIFEST) {
      throw new BundleError(`${path} is not an edge-adapt bundle: ${MANIFEST} is not its first entry.`);
    }
    checkSize(MANIFEST, first.size, path);
    const manifest = manifestFromJson(readEntry(bytes, first, path), path);
    checkEntries(entries, manifest, path);
    return new Bundle(bytes, path, manifest, entries);
  }

  /** Whether the bundle is a classifier (or a regressor) and not a meta-model. */
  get isAdapted(): boolean {
    return this.#entries.has(CLASSIFIER);
  }

  /** The bytes of a graph, which match their SHA-256 and have passed `checkGraph`. */
  graph(name: GraphName): Uint8Array {
    const data = this.#read(name, this.manifest.graphs[name]);
    checkGraph(data, `${this.path}: ${name}`);
    return data;
  }

  /** What `classifier.json` holds. */
  get record(): AdaptationRecord {
    return this.#recorded.record;
  }

  /** Everything that adaptation made, the support set included. */
  adaptation(): Adaptation {
    const { record, arrays } = this.#recorded;
    const array = (entry: string): NdArray => arrayFromNpy(this.#read(entry, arrays.get(entry)), `${this.path}: ${entry}`);
    const [supportFeatures, supportTargets] = [array(SUPPORT_FEATURES), array(SUPPORT_TARGETS)];
    checkSupport(supportFeatures, supportTargets, record, this.manifest, this.path);
    const headState = new Map(this.manifest.headState.map((name) => [name, array(headEntry(name))]));
    return { ...record, headState, supportFeatures, supportTargets };
  }

  /** The edits of a classifier; none where it was never edited. */
  history(): History {
    if (!this.#entries.has(HISTORY)) return NO_HISTORY;
    const features = arrayFromNpy(this.#read(HISTORY_FEATURES), `${this.path}: ${HISTORY_FEATURES}`);
    const size = shotSize(this.manifest);
    return historyFromJson(this.#read(HISTORY), features, size, this.record.targets.length, this.path);
  }

  /** The bytes of the bundle that this model makes with what was adapted, which are checked as a reader would check them. */
  adapted(adaptation: Adaptation, history: History): Uint8Array {
    const { manifest, path } = this;
    const isEdited = history.edits.length > 0;
    const hasOthers = manifest.task === "classification" && adaptation.shots.some((shot) => shot.label === NO_LABEL);
    const arrays: [string, NdArray][] = manifest.headState.map((name) => [headEntry(name), adaptation.headState.get(name)!]);
    arrays.push([SUPPORT_FEATURES, adaptation.supportFeatures], [SUPPORT_TARGETS, adaptation.supportTargets]);
    const npys = arrays.map(([entry, array]) => [entry, arrayToNpy(array)] as const);
    const sums = Object.fromEntries(npys.map(([entry, data]) => [entry, sha256(data)]));
    const entries: (readonly [string, Uint8Array])[] = [
      [MANIFEST, manifestToJson(manifest, path, isEdited || hasOthers ? 5 : 1)],
      ...GRAPHS.map((name) => [name, this.#read(name, manifest.graphs[name])] as const),
      [CLASSIFIER, recordToJson(adaptation, sums, path)],
      ...npys,
    ];
    if (isEdited) {
      const { json, features } = historyToJson(history, shotSize(manifest), path);
      entries.push([HISTORY, json], [HISTORY_FEATURES, arrayToNpy(features)]);
    }
    const bytes = writeContainer(entries);
    const written = Bundle.open(bytes, path);
    written.adaptation();
    written.history();
    return bytes;
  }

  get #recorded(): ReturnType<typeof recordFromJson> {
    if (!this.isAdapted) throw new BundleError(`${this.path} is a meta-model that knows no classes yet; adapt it first.`);
    this.#record ??= recordFromJson(this.#read(CLASSIFIER), this.manifest, this.path);
    return this.#record;
  }

  #read(name: string, sum?: string): Uint8Array {
    const data = readEntry(this.bytes, this.#entries.get(name)!, this.path, sum === undefined);
    if (sum !== undefined && sha256(data) !== sum) {
      throw new BundleError(`${this.path}: ${name} does not match its SHA-256; copy the file again.`);
    }
    return data;
  }
}

/** Refuses any set of entries but a meta-model's, a classifier's and an edited classifier's, and any other order. */
function checkEntries(entries: readonly Entry[], manifest: Manifest, path: string): void {
  const names = entries.map((entry) => entry.name);
  const ofModel = [MANIFEST, ...GRAPHS];
  const ofClassifier = [...ofModel, CLASSIFIER, ...arrayEntries(manifest)];
  const ofEdited = [...ofClassifier, HISTORY, HISTORY_FEATURES];
  const unknown = names.find((name) => !ofEdited.includes(name));
  if (unknown !== undefined) throw new BundleError(`${path} has the entry ${quoted(unknown)}, which is not one of a bundle's.`);
  const kinds = [ofModel, ofClassifier, ofEdited];
  const expected = kinds.find((kind) => names.every((name) => kind.includes(name))) ?? ofEdited;
  const missing = expected.find((name) => !names.includes(name));
  if (missing !== undefined) throw new BundleError(`${path} lacks ${missing}; copy it again, or export or adapt it anew.`);
  if (names.some((name, index) => name !== expected[index])) {
    throw new BundleError(`${path} has its entries out of order; take the file as edge-adapt wrote it.`);
  }
  for (const entry of entries) checkSize(entry.name, entry.size, path);
}

function checkSize(entry: string, size: number, path: string): void {
  const limit = MAX_BYTES.get(entry);
  if (limit !== undefined && size > limit) {
    throw new BundleError(`${path}: ${entry} has ${size} bytes, and the format allows ${limit}.`);
  }
}
