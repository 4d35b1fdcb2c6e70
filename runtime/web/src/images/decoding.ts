/**
 * What a browser can show, to pixels. `createImageBitmap` gives a file's own values: no colour profile is applied and nothing is
 * premultiplied, as far as the browser obeys; the orientation of EXIF is.
 */

import { ImageError } from "../errors.js";
import { sha256 } from "../sha256.js";
import { firstLine } from "../words.js";
import type { Pixels } from "./images.js";

/** What `decode` takes: a file, or what a browser shows. */
export type Decodable = Blob | ImageBitmap | ImageData | HTMLVideoElement | HTMLImageElement | HTMLCanvasElement | VideoFrame;

const AS_STORED: ImageBitmapOptions = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };

/**
 * The pixels of an image, upright; in a page or a worker.
 *
 * @param source a file, which then gives the SHA-256, or a picture that is there already, such as a frame of a camera.
 * @param name what it is called; by default the name of the file.
 * @throws ImageError where the browser cannot decode it.
 */
export async function decode(source: Decodable, name = "name" in source ? String(source.name) : "image"): Promise<Pixels> {
  if (source instanceof Blob) {
    const bytes = new Uint8Array(await source.arrayBuffer());
    if (bytes.length === 0) throw new ImageError(`${name} is empty (0 bytes), so there is no image in it; copy it again.`);
    return { ...(await pixelsOf(source, name)), sha256: sha256(bytes) };
  }
  if (source instanceof ImageData) return { data: source.data, width: source.width, height: source.height, name };
  return source instanceof ImageBitmap ? read(source, name) : pixelsOf(source, name);
}

async function pixelsOf(source: Exclude<Decodable, ImageData>, name: string): Promise<Pixels> {
  const bitmap = await bitmapOf(source, name);
  try {
    return read(bitmap, name);
  } finally {
    bitmap.close();
  }
}

async function bitmapOf(source: Exclude<Decodable, ImageData>, name: string): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(source, AS_STORED).catch((error: unknown) => {
      if (error instanceof TypeError) return createImageBitmap(source); // a browser that does not know the options
      throw error;
    });
  } catch (error) {
    throw new ImageError(`${name} cannot be decoded here (${firstLine(error)}): convert it to JPEG or PNG.`, error);
  }
}

function read(bitmap: ImageBitmap, name: string): Pixels {
  const { width, height } = bitmap;
  const context = contextOf(width, height);
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { data, width, height, name };
}

/** The canvas of this page or worker, which grows as it is needed: a new one for each frame of a camera would be slow. */
let canvas: OffscreenCanvas | HTMLCanvasElement | null = null;

function contextOf(width: number, height: number): OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D {
  canvas ??= typeof OffscreenCanvas === "undefined" ? document.createElement("canvas") : new OffscreenCanvas(1, 1);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true }) as
    | OffscreenCanvasRenderingContext2D
    | CanvasRenderingContext2D
    | null;
  if (!context) throw new ImageError("this browser gives no canvas to decode images with; close other pages.");
  context.clearRect(0, 0, width, height);
  return context;
}
