/** From an image to the pixels that a model takes. */

import type { Pixels } from "./images.js";
import { type Box, type Raster, resize } from "./resize.js";

export const MAX_MODEL_SIDE = 8192;
export const GROUNDS = ["any", "light"] as const;

/** What `preprocess` makes of an image: uint8 [height, width, channels], channels 1 (grey) or 3 (RGB). */
export interface Preprocessing {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  /** Of the largest central part with the shape of the pixels, how much is seen, in height and width; 0.1 to 1. */
  readonly part: number;
  /** `light` for drawings: light strokes on a dark ground are turned over, into dark ones on a light ground. */
  readonly ground: (typeof GROUNDS)[number];
}

/**
 * Brings an image to the pixels that a model takes.
 *
 * Transparency becomes white. The largest central part that has the target's aspect ratio, or `part` of it, is resized with an
 * antialiased triangle filter; where the ground is to be light and is dark, in negative.
 */
export function preprocess(image: Pixels, preprocessing: Preprocessing): Raster {
  const { width, height, channels, part, ground } = preprocessing;
  const raster = onWhite(image, channels);
  const box = centralBox(image, preprocessing, part);
  if (ground === "light" && hasDarkGround(raster, box)) {
    for (let at = 0; at < raster.data.length; at++) raster.data[at]! ^= 255;
  }
  return resize(raster, width, height, box);
}

/** Grey or RGB, with white where the image is transparent. */
function onWhite(image: Pixels, channels: 1 | 3): Raster {
  const { data: rgba, width, height } = image;
  const data = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    let [red, green, blue] = [rgba[from]!, rgba[from + 1]!, rgba[from + 2]!];
    const alpha = rgba[from + 3]!;
    if (alpha !== 255) {
      red = blended(red, alpha);
      green = blended(green, alpha);
      blue = blended(blue, alpha);
    }
    if (channels === 1) data[to++] = grey(red, green, blue);
    else {
      data[to++] = red;
      data[to++] = green;
      data[to++] = blue;
    }
  }
  return { data, width, height, channels };
}

/** A value on white, in Pillow's integers. */
function blended(value: number, alpha: number): number {
  const sum = 255 * (255 - alpha) + value * alpha + 128;
  return (sum + (sum >> 8)) >> 8;
}

/** ITU-R 601-2 luma, in Pillow's integers. */
function grey(red: number, green: number, blue: number): number {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

/** `part` of the largest central part with the target's aspect ratio. */
function centralBox(size: { width: number; height: number }, target: { width: number; height: number }, part: number): Box {
  let [across, down] = [0, 0];
  if (size.width * target.height > size.height * target.width) {
    across = (size.width - (size.height * target.width) / target.height) / 2;
  } else {
    down = (size.height - (size.width * target.height) / target.width) / 2;
  }
  across += (size.width / 2 - across) * (1 - part);
  down += (size.height / 2 - down) * (1 - part);
  return [across, down, size.width - across, size.height - down];
}

/**
 * Whether what lies in the box is light strokes on a dark ground.
 *
 * Most pixels are ground, so that the median is its grey, and strokes, however thin, draw the mean to their side of it.
 */
function hasDarkGround(raster: Raster, box: Box): boolean {
  const [left, upper, right, lower] = box.map(roundedToEven) as [number, number, number, number];
  const counts = new Array<number>(256).fill(0);
  for (let row = upper; row < Math.max(lower, upper + 1); row++) {
    for (let column = left; column < Math.max(right, left + 1); column++) {
      const at = (row * raster.width + column) * raster.channels;
      const { data } = raster;
      // Beyond the edge of a box that is rounded to nothing, Pillow's crop is black.
      const level = raster.channels === 1 ? data[at] : grey(data[at] ?? 0, data[at + 1] ?? 0, data[at + 2] ?? 0);
      counts[level ?? 0]!++;
    }
  }
  const total = counts.reduce((sum, count) => sum + count, 0);
  const mean = counts.reduce((sum, count, level) => sum + count * level, 0) / total;
  let [median, below] = [0, counts[0]!];
  while (below < total / 2) below += counts[++median]!;
  return median === mean ? median < 128 : median < mean;
}

/** As Python rounds: a half to the even neighbour. */
function roundedToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
