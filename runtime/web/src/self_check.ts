/** A device checks a bundle against the bundle's own golden vectors: the same pixels must give the same numbers everywhere. */

import type { Golden } from "./bundle/manifest.js";
import { rowsOf } from "./bundle/npy.js";
import { BundleError } from "./errors.js";
import type { Graphs } from "./graphs.js";
import type { Preprocessing } from "./images/preprocessing.js";
import type { Raster } from "./images/resize.js";

/** The largest errors, each relative to max(1, largest magnitude expected). */
export interface GoldenErrors {
  readonly features: number;
  readonly logits: number;
}

/**
 * Runs the graphs on the golden images and compares what they give with what they must give.
 *
 * @returns null where the bundle has no golden vectors, or does not classify.
 * @throws BundleError where an error is above the bundle's tolerance, or a graph cannot be run.
 */
export async function selfCheck(graphs: Graphs): Promise<GoldenErrors | null> {
  const { golden, preprocessing, task, defaultSteps } = graphs.manifest;
  if (golden === null || task !== "classification") return null;
  const nWay = golden.logits.shape[1]!;
  const features: Float32Array[] = [];
  for (let index = 0; index < golden.pixels.shape[0]!; index++) {
    features.push(await graphs.embed(goldenImage(golden, index, preprocessing)));
  }
  const labels = Array.from(new BigInt64Array(golden.labels.bytes.slice().buffer), Number);
  const { state } = await graphs.adapt(features, labels, nWay, defaultSteps);
  const logits = await graphs.predict(features, state);
  const errors = {
    features: largestError(features, floats(golden.features.bytes, graphs.manifest.featureSize)),
    logits: largestError(logits, floats(golden.logits.bytes, nWay)),
  };
  for (const [what, error] of Object.entries(errors)) {
    if (!(error <= golden.tolerance)) {
      throw new BundleError(
        `${graphs.bundle.path} does not compute here what it should: its golden ${what} are off by ${error.toExponential(1)}, and ` +
          `${golden.tolerance.toExponential(1)} is allowed; try another ONNX Runtime.`,
      );
    }
  }
  return errors;
}

/** A golden image blown up by nearest repetition: image[y, x] = pixels[y * g // H, x * g // W]. */
function goldenImage(golden: Golden, index: number, { height, width, channels }: Preprocessing): Raster {
  const size = golden.pixels.shape[1]!;
  const data = new Uint8Array(height * width * channels);
  for (let y = 0, to = 0; y < height; y++) {
    const row = (index * size + Math.floor((y * size) / height)) * size;
    for (let x = 0; x < width; x++) {
      const from = (row + Math.floor((x * size) / width)) * channels;
      for (let channel = 0; channel < channels; channel++) data[to++] = golden.pixels.bytes[from + channel]!;
    }
  }
  return { data, width, height, channels };
}

function floats(bytes: Uint8Array, length: number): Float32Array[] {
  return rowsOf(new Float32Array(bytes.slice().buffer), length);
}

/** NaN, which is no error that could be allowed, where something is not finite. */
function largestError(given: readonly Float32Array[], expected: readonly Float32Array[]): number {
  let [error, size] = [0, 1];
  expected.forEach((row, index) => {
    row.forEach((value, at) => {
      error = Math.max(error, Math.abs((given[index]?.[at] ?? Number.NaN) - value));
      size = Math.max(size, Math.abs(value));
    });
  });
  return error / size;
}
