/** ONNX Runtime sessions, and their errors in one sentence. */

import type * as onnxruntime from "onnxruntime-common";
import type { NdArray } from "./bundle/npy.js";
import { BundleError, EdgeAdaptError } from "./errors.js";
import { firstLine } from "./words.js";

/** What runs the graphs: the module `onnxruntime-web/wasm`, or `onnxruntime-node`. */
export type OnnxRuntime = Pick<typeof onnxruntime, "InferenceSession" | "Tensor" | "env">;

/** An input of a graph. */
export type Feed = NdArray | { readonly dtype: "uint8"; readonly data: Uint8Array; readonly shape: readonly number[] };

const FATAL_ONLY = 4; // log severity of ONNX Runtime, which prints what it throws too

/** ONNX Runtime as it is installed: for Node, or for browsers. */
export async function installedRuntime(): Promise<OnnxRuntime> {
  // From 1.31 on it keeps a device's number and events in the user's cache, and sends them to Microsoft.
  if (typeof process !== "undefined") process.env["ORT_DISABLE_TELEMETRY"] ??= "1";
  try {
    return await import("#onnxruntime");
  } catch (error) {
    throw new EdgeAdaptError(
      `ONNX Runtime is not installed (${firstLine(error)}); npm install onnxruntime-node in Node, onnxruntime-web for browsers.`,
      error,
    );
  }
}

/** One graph of a bundle, ready to run. */
export class Session {
  private constructor(
    private readonly runtime: OnnxRuntime,
    private readonly session: onnxruntime.InferenceSession,
    private readonly name: string,
  ) {}

  /**
   * @param graph the serialized graph, already checked.
   * @param name what messages call it: the bundle and the graph.
   * @param inputs the names that its inputs must have.
   * @param threads in Node; null takes all cores. In a browser there is one, which needs no cross-origin isolation.
   * @throws BundleError where ONNX Runtime refuses the graph, or its inputs have other names.
   */
  static async create(
    runtime: OnnxRuntime,
    graph: Uint8Array,
    name: string,
    inputs: readonly string[],
    threads: number | null = 1,
  ): Promise<Session> {
    if (runtime.env.wasm) runtime.env.wasm.numThreads = 1;
    const options = { logSeverityLevel: FATAL_ONLY, ...(threads === null ? {} : { intraOpNumThreads: threads }) } as const;
    let session: onnxruntime.InferenceSession;
    try {
      session = await runtime.InferenceSession.create(graph, options);
    } catch (error) {
      throw new BundleError(`${name} is refused by ONNX Runtime (${firstLine(error)}).`, error);
    }
    if ([...session.inputNames].sort().join() !== [...inputs].sort().join()) {
      const found = session.inputNames.join(", ");
      throw new BundleError(`${name} takes ${found} where ${inputs.join(", ")} are expected; export the bundle again.`);
    }
    return new Session(runtime, session, name);
  }

  /** The shape of an output as the graph declares it; a free length is a name. Null where there is no such output. */
  outputShape(name: string): readonly (number | string)[] | null {
    const output = this.session.outputMetadata.find((found) => found.name === name);
    return output?.isTensor ? output.shape : null;
  }

  /** All outputs, by name. Throws BundleError where the graph fails on these inputs. */
  async run(feeds: Readonly<Record<string, Feed>>): Promise<Map<string, NdArray>> {
    const tensors = Object.entries(feeds).map(([name, { dtype, data, shape }]) => {
      return [name, new this.runtime.Tensor(dtype, data, shape)] as const;
    });
    let outputs: onnxruntime.InferenceSession.OnnxValueMapType;
    try {
      outputs = await this.session.run(Object.fromEntries(tensors));
    } catch (error) {
      throw new BundleError(`${this.name} cannot be run (${firstLine(error)}).`, error);
    }
    return new Map(Object.entries(outputs).map(([name, output]) => [name, this.#array(name, output)]));
  }

  #array(name: string, output: onnxruntime.OnnxValue): NdArray {
    const { type, data, dims: shape } = output as onnxruntime.Tensor;
    if (type === "float32") return { dtype: type, data: data as Float32Array, shape };
    if (type === "int64") return { dtype: type, data: data as BigInt64Array, shape };
    throw new BundleError(`${this.name} gives ${name} as ${type}, and a bundle's graphs give float32 and int64.`);
  }
}

/** A zero-dimensional int64 array, as the graphs take `n_way` and `steps`. */
export function scalar(value: number): NdArray {
  return { dtype: "int64", data: BigInt64Array.of(BigInt(value)), shape: [] };
}
