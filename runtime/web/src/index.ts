/** edge-adapt in the browser and in Node: the same verbs, on the same bundles, as in Python. */

/** What runs the graphs: the module `onnxruntime-web/wasm`, or `onnxruntime-node`. */
export interface OnnxRuntime {
  readonly InferenceSession: { create(model: Uint8Array, options?: object): Promise<unknown> };
  readonly Tensor: unknown;
}

/** An image: RGBA, 8 bits a channel, row by row; an `ImageData` is one. `decode` makes one of a file. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  /** What it is called, in histories and findings; `image` where nothing is said. */
  readonly name?: string;
  /** Of the file that it was decoded from; where it is absent, that of the pixels is taken. */
  readonly sha256?: string;
}

/** The features of an image, and which image it is. */
export interface EmbeddedImage {
  readonly name: string;
  readonly sha256: string;
  readonly features: Float32Array;
}

/** What a classifier says of an image. */
export interface Prediction {
  /** The most probable class, of unknown images too. */
  readonly label: string;
  /** Its probability, 0 to 1. */
  readonly confidence: number;
  /** The probability of every class, the most probable first. */
  readonly scores: ReadonlyMap<string, number>;
  /** Whether the image looks like one of the classes. */
  readonly known: boolean;
  /** The share of images of the classes that look less like one, 0 to 1; null where the model has no priors. */
  readonly familiarity: number | null;
}

/** Something that will cost accuracy. */
export interface Finding {
  readonly kind: string;
  readonly text: string;
  readonly classes: readonly string[];
  readonly images: readonly string[];
}

/** What accuracy to expect. */
export interface Estimate {
  readonly accuracy: number;
  readonly interval: readonly [number, number];
  readonly right: number;
  readonly leftOut: number;
  readonly uncovered: readonly string[];
  readonly withTwice: number | null;
}

/** What a regressor reads from an image. */
export interface Measurement {
  readonly values: ReadonlyMap<string, number>;
  readonly intervals: ReadonlyMap<string, readonly [number, number]>;
}

/** An image of a support set; `label` is `_other` for one of no class. */
export interface SupportImage extends EmbeddedImage {
  readonly label: string;
}

/** The parts of the manifest that a page shows. */
export interface Manifest {
  readonly name: string;
  readonly task: "classification" | "regression";
  readonly defaultSteps: number;
  readonly preprocessing: { readonly height: number; readonly width: number; readonly channels: number };
  readonly license: string;
  readonly trainedOn: string;
}

/** A meta-model, before it has seen any class of yours. */
export interface MetaModel {
  readonly manifest: Manifest;
  embed(image: Pixels, options?: { asShot?: boolean }): Promise<EmbeddedImage>;
  adapt(images: Readonly<Record<string, readonly Pixels[]>>, options?: { steps?: number }): Promise<Classifier>;
  adaptEmbedded(
    images: Readonly<Record<string, readonly EmbeddedImage[]>>,
    options?: { steps?: number },
  ): Promise<Classifier>;
  /** Compares with the golden vectors; the errors of features and logits. */
  selfCheck(): Promise<{ features: number; logits: number } | null>;
}

/** A model adapted to classes of yours; each edit gives a new one and leaves this as it is. */
export interface Classifier {
  readonly manifest: Manifest;
  readonly labels: readonly string[];
  /** How many images each class has. */
  readonly counts: ReadonlyMap<string, number>;
  /** All images, those of no class last. */
  readonly images: readonly SupportImage[];
  readonly steps: number;
  /** The support loss before each step. */
  readonly losses: readonly number[];
  /** The edits in words; those from `done` on are undone. */
  readonly history: { readonly edits: readonly { readonly what: string; readonly at: string }[]; readonly done: number };
  embed(image: Pixels, options?: { asShot?: boolean }): Promise<EmbeddedImage>;
  classify(image: Pixels, options?: { unknownAt?: number }): Promise<Prediction>;
  classifyEmbedded(image: EmbeddedImage, options?: { unknownAt?: number }): Promise<Prediction>;
  add(label: string, images: readonly Pixels[]): Promise<Classifier>;
  addEmbedded(label: string, images: readonly EmbeddedImage[]): Promise<Classifier>;
  /** Without a class, or without those of its images that are named so or whose SHA-256 begins so. */
  remove(label: string, ...names: string[]): Promise<Classifier>;
  rename(label: string, name: string): Promise<Classifier>;
  merge(labels: readonly string[], into: string): Promise<Classifier>;
  /** Learn from a mistake: its class (`_other` for none), or one that it is not. */
  correct(image: Pixels, right: string | { not: string }): Promise<Classifier>;
  correctEmbedded(image: EmbeddedImage, right: string | { not: string }): Promise<Classifier>;
  undo(): Promise<Classifier>;
  redo(): Promise<Classifier>;
  /** Without names and SHA-256s of images, and without history. */
  strip(): Promise<Classifier>;
  check(): Promise<Finding[]>;
  estimate(): Promise<Estimate | null>;
  /** The bytes of the `.edge` file. */
  save(): Promise<Uint8Array>;
}

/** A model adapted to photos of known values. */
export interface Regressor {
  readonly manifest: Manifest;
  readonly names: readonly string[];
  readonly errors: { readonly mean: readonly number[]; readonly bound: readonly number[] };
  predict(image: Pixels): Promise<Measurement>;
  save(): Promise<Uint8Array>;
}

/** How a bundle is opened: what messages call it, and what runs its graphs. */
export interface LoadOptions {
  readonly name?: string;
  /** By default `onnxruntime-node` in Node and `onnxruntime-web/wasm` elsewhere. */
  readonly onnxruntime?: OnnxRuntime;
}

/** Anything that a user can cause or repair; the message is one sentence. */
export declare class EdgeAdaptError extends Error {}

/** Opens a meta-model, a classifier or a regressor; tell them by `instanceof`. */
export declare function load(bytes: Uint8Array, options?: LoadOptions): Promise<MetaModel | Classifier | Regressor>;
export declare function loadModel(bytes: Uint8Array, options?: LoadOptions): Promise<MetaModel>;
export declare function loadClassifier(bytes: Uint8Array, options?: LoadOptions): Promise<Classifier>;

/** What a browser can show, to pixels: upright, as the file has them, with the file's SHA-256. */
export declare function decode(
  source: Blob | ImageBitmap | ImageData | HTMLVideoElement | HTMLImageElement | VideoFrame,
  name?: string,
): Promise<Pixels>;
