/** The .npy entries of a bundle: NumPy's format 1.0 in C order, little-endian, float32 or int64. */

import { BundleError } from "../errors.js";
import { quoted } from "../words.js";

/** An array of a bundle or of a graph, in C order. */
export type NdArray =
  | { readonly dtype: "float32"; readonly data: Float32Array; readonly shape: readonly number[] }
  | { readonly dtype: "int64"; readonly data: BigInt64Array; readonly shape: readonly number[] };

const MAGIC = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0);
const START = MAGIC.length + 2;
const ALIGNMENT = 64;
const MAX_DIMENSIONS = 32;
const MAX_LENGTH = 2 ** 40;
const HEADER = /^\{'descr': '([^']{1,16})', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,400})\), \} *\n$/;
const SHAPE = /^(?:|\d+,|\d+(?:, \d+)+)$/;
const DESCRIPTIONS = { float32: "<f4", int64: "<i8" } as const;

/** The bytes of a .npy entry. */
export function arrayToNpy(array: NdArray): Uint8Array {
  let header = `{'descr': '${DESCRIPTIONS[array.dtype]}', 'fortran_order': False, 'shape': ${shapeText(array.shape)}, }`;
  header = header.padEnd(Math.ceil((START + header.length + 1) / ALIGNMENT) * ALIGNMENT - START - 1) + "\n";
  const bytes = new Uint8Array(START + header.length + array.data.byteLength);
  bytes.set(MAGIC);
  new DataView(bytes.buffer).setUint16(MAGIC.length, header.length, true);
  bytes.set(new TextEncoder().encode(header), START);
  bytes.set(bytesOf(array.data), START + header.length);
  return bytes;
}

/** The array of a .npy entry, float32 or int64 of any shape, all finite. Throws BundleError. */
export function arrayFromNpy(data: Uint8Array, where: string): NdArray {
  const start = START + (data[MAGIC.length] ?? 0) + 256 * (data[MAGIC.length + 1] ?? 0);
  const header = HEADER.exec(new TextDecoder("latin1").decode(data.subarray(START, start)));
  if (!MAGIC.every((byte, at) => data[at] === byte) || start > data.length || start % ALIGNMENT !== 0 || !header) {
    throw new BundleError(`${where} is not a .npy array of format 1.0 as a bundle holds them.`);
  }
  const [, description = "", fortranOrder, shapeFound = ""] = header;
  const dtype = description === "<f4" ? "float32" : description === "<i8" ? "int64" : null;
  if (dtype === null) {
    throw new BundleError(`${where} has the dtype ${quoted(description)}, and a bundle's arrays have '<f4' or '<i8'.`);
  }
  if (fortranOrder === "True") throw new BundleError(`${where} is in Fortran order, and a bundle's arrays are in C order.`);
  if (!SHAPE.test(shapeFound)) throw new BundleError(`${where} has a malformed shape.`);
  const shape = (shapeFound.match(/\d+/g) ?? []).map(Number);
  const filled = shape.filter((length) => length > 0).reduce((product, length) => product * length, 1);
  if (shape.length > MAX_DIMENSIONS || (shape.includes(0) && filled > MAX_LENGTH)) {
    throw new BundleError(`${where} has an absurd shape.`);
  }
  const size = shape.includes(0) ? 0 : filled;
  if (size * (dtype === "float32" ? 4 : 8) !== data.length - start) {
    throw new BundleError(`${where} has a shape that does not match its number of bytes.`);
  }
  const copy = data.slice(start).buffer; // typed arrays begin at a multiple of their width
  if (dtype === "int64") return { dtype, data: new BigInt64Array(copy), shape };
  const floats = new Float32Array(copy);
  if (!floats.every(Number.isFinite)) throw new BundleError(`${where} holds a NaN or an infinity; adapt again.`);
  return { dtype, data: floats, shape };
}

/** What an array is, in words. */
export function described(array: NdArray): string {
  return `${array.dtype} [${array.shape.join(", ")}]`;
}

/** The bytes of a typed array, shared. */
export function bytesOf(data: Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Rows of one length, one after another: an array [M, D] from M of [D]. */
export function stacked(rows: readonly Float32Array[], length: number): NdArray {
  const data = new Float32Array(rows.length * length);
  rows.forEach((row, index) => data.set(row, index * length));
  return { dtype: "float32", data, shape: [rows.length, length] };
}

/** The M rows of an array [M, D], shared. */
export function rowsOf(data: Float32Array, length: number): Float32Array[] {
  const count = length === 0 ? 0 : data.length / length;
  return Array.from({ length: count }, (_, row) => data.subarray(row * length, (row + 1) * length));
}

/** As Python writes a tuple: (), (3,), (2, 3). */
function shapeText(shape: readonly number[]): string {
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
}
