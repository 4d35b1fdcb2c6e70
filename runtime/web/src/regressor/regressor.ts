/** A model adapted to photos of known values: what it reads from a photo. It is made, and edited, by the command line. */

import type { ReadingErrors } from "../bundle/classifier_json.js";
import type { Manifest } from "../bundle/manifest.js";
import type { HeadState } from "../contract.js";
import { BundleError } from "../errors.js";
import type { Graphs } from "../graphs.js";
import type { Pixels } from "../images/images.js";

/** What a regressor reads from an image. */
export interface Measurement {
  /** By name, in the order that they were taught in. */
  readonly values: ReadonlyMap<string, number>;
  /** The lowest and the highest that each may be. */
  readonly intervals: ReadonlyMap<string, readonly [low: number, high: number]>;
}

/** A regressor, which `load` opens. */
export class Regressor {
  readonly #graphs: Graphs;
  readonly #state: HeadState;
  /** The names of the T values. */
  readonly names: readonly string[];
  /** How far it is off at shots that are left out. */
  readonly errors: ReadingErrors;

  private constructor(graphs: Graphs, state: HeadState, names: readonly string[], errors: ReadingErrors) {
    this.#graphs = graphs;
    this.#state = state;
    this.names = names;
    this.errors = errors;
  }

  /** The regressor that a bundle holds. */
  static read(graphs: Graphs): Regressor {
    const { headState, targets, errors } = graphs.bundle.adaptation();
    return new Regressor(graphs, headState, targets, errors!);
  }

  /** What the bundle says about the model that was adapted. */
  get manifest(): Manifest {
    return this.#graphs.manifest;
  }

  /** Read the values from one image. Throws ImageError where it is none. */
  async predict(image: Pixels): Promise<Measurement> {
    const features = await this.#graphs.features(image);
    const [read] = await this.#graphs.predict([features], this.#state);
    if (read?.length !== this.names.length || !read.every(Number.isFinite)) {
      const { path } = this.#graphs.bundle;
      throw new BundleError(`${path}: predict.onnx gives no finite values for ${this.names.join(", ")}.`);
    }
    const values = new Map(this.names.map((name, index) => [name, read[index]!]));
    const bounds = this.names.map((name, index) => {
      const [value, bound] = [read[index]!, this.errors.bound[index]!];
      return [name, [value - bound, value + bound]] as const;
    });
    return { values, intervals: new Map(bounds) };
  }

  /** The bytes of its `.edge` file. */
  async save(): Promise<Uint8Array> {
    return this.#graphs.bundle.bytes;
  }
}
