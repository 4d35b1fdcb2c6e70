/** Images, checked. */

import { ImageError } from "../errors.js";
import { sha256 } from "../sha256.js";

const MAX_PIXELS = 178_956_970;
const MAX_SIDE = 65_535;

/** An image: RGBA, 8 bits a channel, row by row, not premultiplied, upright; an `ImageData` is one. `decode` makes one of a file. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
  /** What it is called, in histories and findings; `image` where nothing is said. */
  readonly name?: string;
  /** Of the file that it was decoded from, in hexadecimal; where it is absent, that of the pixels is taken. */
  readonly sha256?: string;
}

/** What an image is called: the name of its file alone, for where it lay is nobody's business. */
export function nameOf(image: Pixels): string {
  return (image.name ?? "").split("/").pop() || "image";
}

/**
 * Identifies an image, in hexadecimal: the SHA-256 of its file, or else of the ASCII line "HEIGHT WIDTH 4\n" followed by the
 * pixels, as Python has it for an RGBA array.
 */
export function sha256Of(image: Pixels): string {
  return image.sha256 ?? sha256(new TextEncoder().encode(`${image.height} ${image.width} 4\n`), image.data);
}

/** Throws ImageError unless an image has as many bytes as pixels, and no more than are read. */
export function checkPixels(image: Pixels): void {
  const { data, width, height } = image;
  const name = nameOf(image);
  if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0)) {
    throw new ImageError(`${name} has ${width} x ${height} pixels, so there is nothing to see in it.`);
  }
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    throw new ImageError(
      `${name} has ${width} x ${height} pixels, but at most ${MAX_PIXELS} in all and ${MAX_SIDE} a side are read here: ` +
        "scale it down first.",
    );
  }
  if (data.length !== 4 * width * height) {
    throw new ImageError(
      `${name} has ${data.length} bytes for ${width} x ${height} pixels, but an image is RGBA, 4 bytes a pixel.`,
    );
  }
}
