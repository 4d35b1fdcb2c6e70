/** What a bundle says of itself: `manifest.json`, field by field as in docs/bundle-format.md. */

import { MAX_STEPS } from "../contract.js";
import { BundleError } from "../errors.js";
import { GROUNDS, MAX_MODEL_SIDE, type Preprocessing } from "../images/preprocessing.js";
import { LEAST_PART, MOST_VIEWS, type View } from "../images/views.js";
import { quoted } from "../words.js";
import { type Accuracy, type ModelCard, PRECISIONS, type Priors, TASKS, type Task } from "./card.js";
import { type Dumpable, dumpJson, Fields, LARGEST_INTEGER, loadJson, Real } from "./strict_json.js";

/** The newest version; a bundle is written in the lowest that can hold it. */
export const FORMAT_VERSION = 6;
export const GRAPHS = ["embed.onnx", "adapt.onnx", "predict.onnx"] as const;
export type GraphName = (typeof GRAPHS)[number];

const MAX_HEAD_TENSORS = 64;
const MAX_GOLDEN_PIXELS = 2 ** 24; // of all golden images together, blown up, unless there is one
const MOST_PRIOR = 100;
const TENSOR_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
/** Inputs and outputs of `adapt` and `predict` beside the head state, which cannot share their names. */
const GRAPH_NAMES = new Set(["features", "targets", "steps", "n_way", "losses", "logits", "values"]);

/** An array in JSON. */
interface GoldenArray {
  readonly dtype: "uint8" | "int64" | "float32";
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** What the graphs must give, for a device to check itself against. */
export interface Golden {
  /** uint8 [B, g, g, C]: small pictures, to be blown up. */
  readonly pixels: GoldenArray;
  /** int64 [B]; in regression the targets, float32 [B, T]. */
  readonly labels: GoldenArray;
  /** float32 [B, D]. */
  readonly features: GoldenArray;
  /** float32 [B, N]; in regression the values, float32 [B, T]. */
  readonly logits: GoldenArray;
  readonly tolerance: number;
}

/** The card of a bundle, and what a reader of its graphs needs beside it. */
export interface Manifest extends ModelCard {
  /** D, the length of a feature vector. */
  readonly featureSize: number;
  /** The names of the head state's tensors in the order of `adapt`'s outputs. */
  readonly headState: readonly string[];
  readonly golden: Golden | null;
  /** SHA-256 of each graph in hexadecimal. */
  readonly graphs: Readonly<Record<GraphName, string>>;
}

/** The bytes of `manifest.json`; `path` is the bundle's, for messages, and the rest of it needs `leastVersion`. */
export function manifestToJson(manifest: Manifest, path: string, leastVersion = 1): Uint8Array {
  const { preprocessing, golden, priors } = manifest;
  const isAsItIs = preprocessing.part === 1 && preprocessing.ground === "any";
  const ofLooks = !isAsItIs ? 4 : manifest.supportViews.length > 0 ? 3 : manifest.precision === "fp32" ? 1 : 2;
  const version = Math.max(ofLooks, leastVersion, priors === null ? 1 : 5, manifest.task === "regression" ? 6 : 1);
  const value: Dumpable = {
    format_version: version,
    task: manifest.task,
    name: manifest.name,
    method: manifest.method,
    preprocessing: {
      height: preprocessing.height,
      width: preprocessing.width,
      channels: preprocessing.channels,
      resize: "bilinear",
      crop: "center",
      ...(version < 4 ? {} : { part: new Real(preprocessing.part), ground: preprocessing.ground }),
    },
    feature_size: manifest.featureSize,
    default_steps: manifest.defaultSteps,
    head_state: manifest.headState,
    max_ways: manifest.maxWays,
    max_support: manifest.maxSupport,
    trained_on: manifest.trainedOn,
    accuracy: manifest.accuracy.map((measured) => ({
      data: measured.data,
      n_way: measured.nWay,
      n_shot: measured.nShot,
      n_query: measured.nQuery,
      episodes: measured.episodes,
      accuracy: new Real(measured.accuracy),
      ci95: new Real(measured.ci95),
    })),
    license: manifest.license,
    golden: golden && {
      pixels: arrayToJson(golden.pixels),
      labels: arrayToJson(golden.labels),
      features: arrayToJson(golden.features),
      logits: arrayToJson(golden.logits),
      tolerance: new Real(golden.tolerance),
    },
    graphs: { ...manifest.graphs },
    ...(version === 1 ? {} : { precision: manifest.precision }),
    ...(version < 3 ? {} : { support_views: manifest.supportViews.map(viewToJson) }),
    ...(priors === null ? {} : { priors: priorsToJson(priors) }),
  };
  return dumpJson(value, `${path}: manifest.json`);
}

function viewToJson(view: View): Dumpable {
  return { part: new Real(view.part), mirrored: view.mirrored };
}

function priorsToJson(priors: Priors): Dumpable {
  return {
    score: new Real(priors.score),
    score_of_one_shot: new Real(priors.scoreOfOneShot),
    score_spread: new Real(priors.scoreSpread),
    temperature: new Real(priors.temperature),
    temperature_of_one_shot: new Real(priors.temperatureOfOneShot),
  };
}

/** Reads `manifest.json`; `path` is the bundle's, for messages. Throws BundleError. */
export function manifestFromJson(data: Uint8Array, path: string): Manifest {
  const where = `${path}: manifest.json`;
  const fields = new Fields(loadJson(data, where), where);
  // Before everything else: of another version, nothing else is known.
  const version = fields.integer("format_version", 1);
  if (version > FORMAT_VERSION) {
    throw new BundleError(
      `${path} has format version ${version}, and this edge-adapt reads versions 1 to ${FORMAT_VERSION}; update edge-adapt.`,
    );
  }
  const task = fields.choice("task", TASKS);
  const preprocessing = preprocessingOf(fields.child("preprocessing"), version);
  const featureSize = fields.integer("feature_size", 1);
  const golden = fields.isNull("golden") ? null : fields.child("golden");
  const graphs = fields.child("graphs");
  const manifest: Manifest = {
    name: fields.line("name"),
    task,
    method: fields.line("method"),
    preprocessing,
    featureSize,
    defaultSteps: fields.integer("default_steps", 0, MAX_STEPS),
    headState: headStateOf(fields),
    maxWays: fields.isNull("max_ways") ? null : fields.integer("max_ways", 1),
    maxSupport: fields.isNull("max_support") ? null : fields.integer("max_support", 1),
    trainedOn: fields.line("trained_on", true),
    accuracy: fields.items("accuracy").map((item) => accuracyOf(new Fields(item, `${where} ("accuracy")`))),
    license: fields.line("license", true),
    golden: golden && goldenOf(golden, task, preprocessing, featureSize),
    precision: version === 1 ? "fp32" : fields.choice("precision", version === 2 ? PRECISIONS.slice(1) : PRECISIONS),
    supportViews: version < 3 ? [] : supportViewsOf(fields, version),
    graphs: {
      "embed.onnx": graphs.sha256("embed.onnx"),
      "adapt.onnx": graphs.sha256("adapt.onnx"),
      "predict.onnx": graphs.sha256("predict.onnx"),
    },
    priors: version >= 5 && fields.has("priors") ? priorsOf(fields.child("priors")) : null,
  };
  graphs.done();
  fields.done();
  return manifest;
}

function preprocessingOf(fields: Fields, version: number): Preprocessing {
  const [height, width] = [fields.integer("height", 1, MAX_MODEL_SIDE), fields.integer("width", 1, MAX_MODEL_SIDE)];
  const channels = fields.integer("channels", 1);
  if (channels !== 1 && channels !== 3) return fields.fail(`has ${channels} channels, and a model takes 1 (grey) or 3 (RGB)`);
  fields.choice("resize", ["bilinear"]);
  fields.choice("crop", ["center"]);
  const part = version < 4 ? 1 : fields.number("part", LEAST_PART, 1);
  const ground = version < 4 ? "any" : fields.choice("ground", GROUNDS);
  fields.done();
  return { height, width, channels, part, ground };
}

function headStateOf(fields: Fields): string[] {
  const names = fields.items("head_state", MAX_HEAD_TENSORS).map((name) => {
    if (typeof name !== "string" || !TENSOR_NAME.test(name) || GRAPH_NAMES.has(name)) {
      return fields.fail(`has "head_state" with ${quoted(name)}, which cannot name a tensor`);
    }
    return name;
  });
  if (names.length === 0 || new Set(names).size !== names.length) {
    fields.fail('has "head_state" that is empty or names a tensor twice');
  }
  return names;
}

function supportViewsOf(fields: Fields, version: number): View[] {
  const views = fields.items("support_views", MOST_VIEWS).map((item) => {
    const view = new Fields(item, `${fields.where} ("support_views")`);
    const found = { part: view.number("part", LEAST_PART, 1), mirrored: view.boolean("mirrored") };
    view.done();
    return found;
  });
  if ((views.length === 0 && version === 3) || views.some((view) => view.part === 1 && !view.mirrored)) {
    fields.fail('has "support_views" that are none, or one that takes the image as it is');
  }
  return views;
}

function priorsOf(fields: Fields): Priors {
  const priors = {
    score: fields.number("score", -MOST_PRIOR, MOST_PRIOR),
    scoreOfOneShot: fields.number("score_of_one_shot", -MOST_PRIOR, MOST_PRIOR),
    scoreSpread: fields.number("score_spread", 0, MOST_PRIOR),
    temperature: fields.number("temperature", -MOST_PRIOR, MOST_PRIOR),
    temperatureOfOneShot: fields.number("temperature_of_one_shot", -MOST_PRIOR, MOST_PRIOR),
  };
  fields.done();
  return priors;
}

function accuracyOf(fields: Fields): Accuracy {
  const accuracy = {
    data: fields.line("data"),
    nWay: fields.integer("n_way", 1),
    nShot: fields.integer("n_shot", 1),
    nQuery: fields.integer("n_query", 1),
    episodes: fields.integer("episodes", 1),
    accuracy: fields.number("accuracy", 0, 1),
    ci95: fields.number("ci95", 0, 1),
  };
  fields.done();
  return accuracy;
}

function goldenOf(fields: Fields, task: Task, preprocessing: Preprocessing, featureSize: number): Golden {
  const pixels = arrayOf(fields.child("pixels"), "uint8", [null, null, null, preprocessing.channels]);
  const [images = 0, height, width] = pixels.shape;
  if (images > 1 && images * preprocessing.height * preprocessing.width > MAX_GOLDEN_PIXELS) {
    fields.fail(`has ${images} images, which blown up have more than ${MAX_GOLDEN_PIXELS} pixels`);
  }
  const logits = arrayOf(fields.child("logits"), "float32", [images, null]);
  const isRegression = task === "regression";
  const labels = arrayOf(fields.child("labels"), isRegression ? "float32" : "int64", isRegression ? logits.shape : [images]);
  const features = arrayOf(fields.child("features"), "float32", [images, featureSize]);
  const golden = { pixels, labels, features, logits, tolerance: fields.number("tolerance", 0, 1) };
  fields.done();
  if (height !== width) fields.fail("has pixels that are not square");
  if (!isRegression) {
    const found = new Set(new BigInt64Array(labels.bytes.slice().buffer));
    const nWay = logits.shape[1] ?? 0;
    if (found.size !== nWay || [...found].some((label) => label < 0n || label >= BigInt(nWay))) {
      fields.fail("has labels that are not the classes of its logits, each at least once");
    }
  }
  return golden;
}

function arrayToJson(array: GoldenArray): Dumpable {
  return { dtype: array.dtype, shape: array.shape, base64: base64(array.bytes) };
}

function arrayOf(fields: Fields, dtype: GoldenArray["dtype"], expected: readonly (number | null)[]): GoldenArray {
  fields.choice("dtype", [dtype]);
  const [found, text] = [fields.items("shape", expected.length), fields.take("base64")];
  fields.done();
  const shape = found.filter((length, axis): length is number => {
    const wanted = expected[axis];
    if (typeof length !== "number") return false;
    return wanted === null ? length > 0 && length <= LARGEST_INTEGER : length === wanted;
  });
  if (shape.length !== expected.length) fields.fail("has a shape that does not fit the others or the feature size");
  const bytes = typeof text === "string" ? bytesOfBase64(text) : null;
  if (bytes === null) return fields.fail("is not base64");
  const width = { uint8: 1, float32: 4, int64: 8 }[dtype];
  if (bytes.length !== shape.reduce((size, length) => size * length, width)) {
    fields.fail("has a shape that does not match its number of bytes");
  }
  if (dtype === "float32" && !new Float32Array(bytes.slice().buffer).every(Number.isFinite)) {
    fields.fail("has a value that is not finite");
  }
  return { dtype, shape, bytes };
}

function base64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** The bytes of strict base64, or null: decoders pass over stray characters; this one does not. */
function bytesOfBase64(text: string): Uint8Array | null {
  try {
    const binary = atob(text);
    return btoa(binary) === text ? Uint8Array.from(binary, (character) => character.charCodeAt(0)) : null;
  } catch {
    return null;
  }
}
