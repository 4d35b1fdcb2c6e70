/**
 * How an image is looked at whose values are to be read: in parts, whose features, less their mean, are those of the image. Where
 * something is tells what a gauge reads, and what all parts have in common is light and camera.
 */

import type { Preprocessing } from "./preprocessing.js";
import type { Raster } from "./resize.js";

/** Of an image: its corners. */
export const PARTS = 4;
/** At a shot, beside the one as it is. */
export const LOOKS = 12;
/** Of the height and width of an image, what a part has. */
const SHARE = 0.6;

/** How an image is brought to the pixels of which a part is what the model takes. */
export function whole(preprocessing: Preprocessing): Preprocessing {
  const [height, width] = [Math.ceil(preprocessing.height / SHARE), Math.ceil(preprocessing.width / SHARE)];
  return { ...preprocessing, height, width, part: 1 };
}

/** The features of an image whose values are to be read, float32 [PARTS D], from its pixels as `whole` has them. */
export async function valueFeatures(
  embed: (image: Raster) => Promise<Float32Array>,
  image: Raster,
  preprocessing: Preprocessing,
): Promise<Float32Array> {
  const { height, width } = preprocessing;
  const parts: Float32Array[] = [];
  for (const upper of [0, image.height - height]) {
    for (const left of [0, image.width - width]) parts.push(await embed(corner(image, left, upper, width, height)));
  }
  const size = parts[0]!.length;
  const mean = new Float32Array(size);
  for (const part of parts) part.forEach((value, at) => (mean[at]! += value));
  const centred = new Float32Array(PARTS * size);
  parts.forEach((part, index) => {
    part.forEach((value, at) => (centred[index * size + at] = value - Math.fround(mean[at]! / PARTS)));
  });
  return centred;
}

function corner(image: Raster, left: number, upper: number, width: number, height: number): Raster {
  const { channels } = image;
  const data = new Uint8Array(width * height * channels);
  for (let row = 0; row < height; row++) {
    const from = ((upper + row) * image.width + left) * channels;
    data.set(image.data.subarray(from, from + width * channels), row * width * channels);
  }
  return { data, width, height, channels };
}
