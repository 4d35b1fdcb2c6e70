/**
 * The resize of preprocessing, to the last bit what Pillow's `resize` with `BILINEAR` and `box` gives (libImaging/Resample.c): a
 * triangle filter whose support grows with the reduction, along rows and along columns, each rounded to 8 bits.
 */

/** Pixels of 1 (grey) or 3 (RGB) channels, 8 bits each, row by row, channels interleaved. */
export interface Raster {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** Left, upper, right and lower edge in pixels; they need not be whole. */
export type Box = readonly [left: number, upper: number, right: number, lower: number];

const PRECISION_BITS = 32 - 8 - 2;

/** What is in the box of a raster, brought to `width` by `height` pixels. */
export function resize(raster: Raster, width: number, height: number, box: Box): Raster {
  const [left, upper, right, lower] = box.map(Math.fround) as [number, number, number, number]; // as Pillow keeps them
  const across = left !== 0 || right !== width || width !== raster.width ? filter(raster.width, left, right, width) : null;
  const down = upper !== 0 || lower !== height || height !== raster.height ? filter(raster.height, upper, lower, height) : null;
  // As Pillow does from version 13 on, where this takes less work; rounding in the other order differs by one here and there.
  if (down && raster.height > height && raster.height - height > 2 * (raster.width - width)) {
    const shrunk = alongColumns(raster, down, 0);
    return across ? alongRows(shrunk, across, 0, height) : shrunk;
  }
  const [first, last] = down ? rowsSeen(down) : [0, raster.height];
  const stretched = across ? alongRows(raster, across, first, last) : crop(raster, first, last);
  return down ? alongColumns(stretched, down, first) : stretched;
}

/** For each output pixel: the first input pixel that it is made of, how many, and their weights in fixed point. */
interface Filter {
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly weights: Int32Array;
  /** Weights an output pixel. */
  readonly stride: number;
}

function filter(inputSize: number, from: number, to: number, outputSize: number): Filter {
  const scale = Math.fround(to - from) / outputSize;
  const support = Math.max(scale, 1);
  const stride = Math.ceil(support) * 2 + 1;
  const [first, count] = [new Int32Array(outputSize), new Int32Array(outputSize)];
  const weights = new Int32Array(outputSize * stride);
  const exact = new Float64Array(stride);
  for (let output = 0; output < outputSize; output++) {
    const centre = from + (output + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const length = Math.min(inputSize, Math.trunc(centre + support + 0.5)) - start;
    let total = 0;
    for (let tap = 0; tap < length; tap++) {
      const weight = Math.max(0, 1 - Math.abs((tap + start - centre + 0.5) * (1 / support)));
      exact[tap] = weight;
      total += weight;
    }
    for (let tap = 0; tap < length; tap++) {
      const weight = total === 0 ? exact[tap]! : exact[tap]! / total;
      weights[output * stride + tap] = Math.trunc(weight * 2 ** PRECISION_BITS + 0.5);
    }
    first[output] = start;
    count[output] = length;
  }
  return { first, count, weights, stride };
}

function rowsSeen(down: Filter): [first: number, last: number] {
  const end = down.first.length - 1;
  return [down.first[0]!, down.first[end]! + down.count[end]!];
}

function crop(raster: Raster, first: number, last: number): Raster {
  const row = raster.width * raster.channels;
  return { ...raster, data: raster.data.slice(first * row, last * row), height: last - first };
}

function alongRows(raster: Raster, across: Filter, firstRow: number, lastRow: number): Raster {
  const { data, channels } = raster;
  const { first, count, weights, stride } = across;
  const width = first.length;
  const output = new Uint8ClampedArray((lastRow - firstRow) * width * channels);
  let at = 0;
  for (let row = firstRow; row < lastRow; row++) {
    const start = row * raster.width * channels;
    for (let column = 0; column < width; column++) {
      const [from, taps, firstWeight] = [start + first[column]! * channels, count[column]!, column * stride];
      for (let channel = 0; channel < channels; channel++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let tap = 0, input = from + channel; tap < taps; tap++, input += channels) {
          sum += data[input]! * weights[firstWeight + tap]!;
        }
        output[at++] = sum >> PRECISION_BITS;
      }
    }
  }
  return { data: new Uint8Array(output.buffer), width, height: lastRow - firstRow, channels };
}

/** `firstRow` is that of the image which is the raster's row 0. */
function alongColumns(raster: Raster, down: Filter, firstRow: number): Raster {
  const { data, width, channels } = raster;
  const { first, count, weights, stride } = down;
  const row = width * channels;
  const output = new Uint8ClampedArray(first.length * row);
  let at = 0;
  for (let line = 0; line < first.length; line++) {
    const [from, taps, firstWeight] = [(first[line]! - firstRow) * row, count[line]!, line * stride];
    for (let column = 0; column < row; column++) {
      let sum = 1 << (PRECISION_BITS - 1);
      for (let tap = 0, input = from + column; tap < taps; tap++, input += row) {
        sum += data[input]! * weights[firstWeight + tap]!;
      }
      output[at++] = sum >> PRECISION_BITS;
    }
  }
  return { data: new Uint8Array(output.buffer), width, height: first.length, channels };
}
