/** A meta-model, which adapts, and what opens it or a classifier that it became. */

import { Bundle } from "./bundle/bundle.js";
import type { Manifest } from "./bundle/manifest.js";
import { Classifier } from "./classifier/classifier.js";
import { checkClasses, checkedSteps } from "./classifier/limits.js";
import { OTHER, SupportSet } from "./classifier/support.js";
import { BundleError } from "./errors.js";
import { type EmbeddedImage, Graphs, type OnProgress } from "./graphs.js";
import type { Pixels } from "./images/images.js";
import { Regressor } from "./regressor/regressor.js";
import { type GoldenErrors, selfCheck } from "./self_check.js";
import { installedRuntime, type OnnxRuntime } from "./sessions.js";

/** How to adapt. */
export interface AdaptOptions {
  /** Gradient steps; by default the model's own number. */
  readonly steps?: number;
}

/** A meta-trained model, before it has seen any class of yours. */
export class MetaModel {
  readonly #graphs: Graphs;

  constructor(graphs: Graphs) {
    this.#graphs = graphs;
  }

  /** What the bundle says about the model. */
  get manifest(): Manifest {
    return this.#graphs.manifest;
  }

  /** The features of an image; as a shot, in all ways that the model looks at images to adapt to. Throws ImageError. */
  embed(image: Pixels, { asShot = false }: { readonly asShot?: boolean } = {}): Promise<EmbeddedImage> {
    return this.#graphs.embedImage(image, asShot);
  }

  /**
   * Learn new classes from a few images of each. The result depends on the images and labels alone, not on their order.
   *
   * @param images label -> images; 2 labels or more, 1 image or more each, unequal counts welcome; those of no class at `OTHER`.
   * @throws ImageError where an image cannot be read.
   * @throws DataError for fewer than two classes, a class without images or with a name that no bundle can hold, more than the
   *     model's limits, or steps so large that they diverge.
   * @throws EdgeAdaptError for steps that the model cannot take.
   */
  async adapt(
    images: Readonly<Record<string, readonly Pixels[]>>,
    { onProgress, ...options }: AdaptOptions & { readonly onProgress?: OnProgress } = {},
  ): Promise<Classifier> {
    const given = Object.entries(images);
    checkClasses(this.#graphs, new Map(given.filter(([label]) => label !== OTHER).map(([label, found]) => [label, found.length])));
    await checkedSteps(this.#graphs, options.steps);
    const embedded = await this.#graphs.embedShots(given.flatMap(([, found]) => found), onProgress);
    let taken = 0;
    const shots = given.map(([label, found]) => [label, embedded.slice(taken, (taken += found.length))] as const);
    return this.adaptEmbedded(Object.fromEntries(shots), options);
  }

  /** `adapt` on images that are embedded already, as shots. */
  async adaptEmbedded(
    images: Readonly<Record<string, readonly EmbeddedImage[]>>,
    { steps }: AdaptOptions = {},
  ): Promise<Classifier> {
    return Classifier.adapt(this.#graphs, SupportSet.ofClasses(images), steps);
  }

  /** Compare what the graphs give here with the bundle's golden vectors; see `selfCheck`. */
  selfCheck(): Promise<GoldenErrors | null> {
    return selfCheck(this.#graphs);
  }
}

/** How a bundle is opened. */
export interface LoadOptions {
  /** What messages call it. */
  readonly name?: string;
  /** What runs the graphs; by default `onnxruntime-node` in Node and `onnxruntime-web/wasm` elsewhere. */
  readonly onnxruntime?: OnnxRuntime;
}

/**
 * Open a bundle: a meta-model to `adapt`, a classifier to `classify` with, or a regressor to `predict` with.
 *
 * @param bytes of the file; they are shared, not copied.
 * @throws BundleError where they are damaged, or no bundle of a version that is read here.
 */
export async function load(bytes: Uint8Array, options: LoadOptions = {}): Promise<MetaModel | Classifier | Regressor> {
  const bundle = Bundle.open(bytes, nameOf(options));
  const graphs = new Graphs(bundle, options.onnxruntime ?? (await installedRuntime()));
  if (!bundle.isAdapted) return new MetaModel(graphs);
  return graphs.manifest.task === "classification" ? Classifier.read(graphs) : Regressor.read(graphs);
}

/** `load` where only a meta-model will do. */
export async function loadModel(bytes: Uint8Array, options: LoadOptions = {}): Promise<MetaModel> {
  const loaded = await load(bytes, options);
  if (loaded instanceof MetaModel) return loaded;
  const kind = loaded instanceof Classifier ? "classifier" : "regressor";
  throw new BundleError(`${nameOf(options)} is an adapted ${kind} where a meta-model is needed; give the model it was made from.`);
}

/** `load` where only an adapted classifier will do. */
export async function loadClassifier(bytes: Uint8Array, options: LoadOptions = {}): Promise<Classifier> {
  const loaded = await load(bytes, options);
  if (loaded instanceof Classifier) return loaded;
  throw new BundleError(
    loaded instanceof MetaModel
      ? `${nameOf(options)} is a meta-model that knows no classes yet; adapt it first.`
      : `${nameOf(options)} reads values where a classifier is needed; give one of classes.`,
  );
}

function nameOf(options: LoadOptions): string {
  return options.name ?? "the bundle";
}
