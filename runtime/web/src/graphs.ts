/** The three graphs of a bundle, called with arrays and with images. This file knows no method by name. */

import type { Bundle } from "./bundle/bundle.js";
import type { GraphName, Manifest } from "./bundle/manifest.js";
import { described, type NdArray, rowsOf, stacked } from "./bundle/npy.js";
import type { EpisodeModel, HeadState } from "./contract.js";
import { BundleError } from "./errors.js";
import { checkPixels, nameOf, type Pixels, sha256Of } from "./images/images.js";
import { valueFeatures, whole } from "./images/looks.js";
import { preprocess } from "./images/preprocessing.js";
import type { Raster } from "./images/resize.js";
import { shotFeatures } from "./images/views.js";
import { type OnnxRuntime, scalar, Session } from "./sessions.js";

/** The features of an image, and which image it is. */
export interface EmbeddedImage {
  readonly name: string;
  readonly sha256: string;
  /** float32 [D]; in regression [PARTS D]. */
  readonly features: Float32Array;
}

/** How far the embedding of several images has come. */
export type OnProgress = (done: number, total: number) => void;

/** The three graphs of a bundle, each loaded when it is first called. */
export class Graphs implements EpisodeModel {
  readonly #sessions = new Map<GraphName, Promise<Session>>();

  constructor(
    readonly bundle: Bundle,
    private readonly runtime: OnnxRuntime,
  ) {}

  /** What the bundle says about itself. */
  get manifest(): Manifest {
    return this.bundle.manifest;
  }

  /** A preprocessed image, uint8 [H, W, C], to its features, float32 [D]. */
  async embed(image: Raster): Promise<Float32Array> {
    const shape = [1, image.height, image.width, image.channels];
    const session = await this.#session("embed.onnx", ["images"], null);
    const outputs = await session.run({ images: { dtype: "uint8", data: image.data, shape } });
    return this.#checked("embed.onnx", "features", outputs, [1, this.manifest.featureSize]);
  }

  async adapt(
    features: readonly Float32Array[],
    labels: readonly number[],
    nWay: number,
    steps: number,
  ): Promise<{ state: HeadState; losses: Float32Array }> {
    const session = await this.#adaptSession();
    const outputs = await session.run({
      features: stacked(features, this.manifest.featureSize),
      targets: { dtype: "int64", data: BigInt64Array.from(labels, BigInt), shape: [labels.length] },
      steps: scalar(steps),
      n_way: scalar(nWay),
    });
    const state = this.manifest.headState.map((name) => {
      const array = outputs.get(name);
      if (!array) throw new BundleError(`${this.bundle.path}: adapt.onnx gives no '${name}'; export the bundle again.`);
      return [name, array] as const;
    });
    return { state: new Map(state), losses: this.#checked("adapt.onnx", "losses", outputs, [null]) };
  }

  async predict(features: readonly Float32Array[], state: HeadState): Promise<Float32Array[]> {
    const session = await this.#session("predict.onnx", ["features", ...this.manifest.headState]);
    const rows = stacked(features, features[0]?.length ?? this.manifest.featureSize);
    const outputs = await session.run({ features: rows, ...Object.fromEntries(state) });
    const name = this.manifest.task === "classification" ? "logits" : "values";
    const scores = this.#checked("predict.onnx", name, outputs, [features.length, null]);
    return rowsOf(scores, scores.length / Math.max(features.length, 1));
  }

  /** Brings an image to the model's pixels and embeds it; as a shot in all ways that the manifest lists for images to adapt to. */
  async features(image: Pixels, asShot = false): Promise<Float32Array> {
    checkPixels(image);
    const { preprocessing, supportViews, task } = this.manifest;
    const embed = (pixels: Raster): Promise<Float32Array> => this.embed(pixels);
    if (task === "regression") return valueFeatures(embed, preprocess(image, whole(preprocessing)), preprocessing);
    return shotFeatures(embed, preprocess(image, preprocessing), asShot ? supportViews : []);
  }

  /** `features`, and which image it is, which takes as long as to embed a frame of a camera. */
  async embedImage(image: Pixels, asShot = false): Promise<EmbeddedImage> {
    return { features: await this.features(image, asShot), name: nameOf(image), sha256: sha256Of(image) };
  }

  /** `embedImage` of each as a shot, in order. */
  async embedShots(images: readonly Pixels[], onProgress?: OnProgress): Promise<EmbeddedImage[]> {
    const embedded: EmbeddedImage[] = [];
    for (const image of images) {
      embedded.push(await this.embedImage(image, true));
      onProgress?.(embedded.length, images.length);
    }
    return embedded;
  }

  /** Whether `adapt` has an inner loop: a graph without one declares that it gives no losses. */
  async takesSteps(): Promise<boolean> {
    const losses = (await this.#adaptSession()).outputShape("losses");
    return !(losses?.length === 1 && losses[0] === 0);
  }

  #adaptSession(): Promise<Session> {
    return this.#session("adapt.onnx", ["features", "targets", "n_way", "steps"]);
  }

  #session(graph: GraphName, inputs: readonly string[], threads: number | null = 1): Promise<Session> {
    const known = this.#sessions.get(graph);
    if (known) return known;
    const { bundle } = this;
    const made = Session.create(this.runtime, bundle.graph(graph), `${bundle.path}: ${graph}`, inputs, threads);
    this.#sessions.set(graph, made);
    return made;
  }

  /** An output, if it has the dtype and shape (null: any length) that the format gives it; a bundle is data from outside. */
  #checked(graph: GraphName, name: string, outputs: ReadonlyMap<string, NdArray>, due: readonly (number | null)[]): Float32Array {
    const output = outputs.get(name);
    const fits =
      output?.shape.length === due.length && due.every((length, axis) => length === null || length === output.shape[axis]);
    if (output?.dtype !== "float32" || !fits) {
      const found = output ? described(output) : "nothing";
      const lengths = due.map((length) => length ?? "any").join(", ");
      throw new BundleError(
        `${this.bundle.path}: ${graph} gives ${name} as ${found} where float32 [${lengths}] is due; export the bundle again.`,
      );
    }
    return output.data;
  }
}
