// Pictures for ONNX Runtime: binary PPM or PGM files of the size that the model takes.
import { readFileSync } from "node:fs";
import { Tensor } from "onnxruntime-node";

/** A batch of one, uint8 [1, H, W, C]. */
export function batch(path) {
  const data = readFileSync(path);
  const [header, kind, width, height] = /^(P[56])\s+(\d+)\s+(\d+)\s+255\s/.exec(data.toString("latin1", 0, 64));
  return new Tensor("uint8", data.subarray(header.length), [1, +height, +width, kind === "P6" ? 3 : 1]);
}
