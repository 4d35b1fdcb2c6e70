/**
 * The container of a bundle: a zip whose bytes follow from its entries' names and contents alone.
 *
 * Entries are stored as they are, one after another from the first byte on, and every other field of the zip has one permitted
 * value. So the reader rebuilds each header and compares: what is compressed, hidden in a gap or damaged does not match.
 */

import { BundleError } from "../errors.js";

const MAX_ENTRIES = 100;
/** Offsets are 32 bits wide, and the all-ones value would announce zip64. */
const MAX_CONTAINER_BYTES = 2 ** 32 - 2;
const LONGEST_NAME = 128;

const [LOCAL_SIZE, CENTRAL_SIZE, END_SIZE] = [30, 46, 22] as const;
const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50] as const;
const VERSION = 20; // needed to extract: 2.0
const MADE_BY = (3 << 8) | VERSION; // unix, so that the permissions below count
const PERMISSIONS = 0o100644 * 2 ** 16;
const DATE = (1 << 5) | 1; // 1980-01-01, the first day that a zip can name

/** One entry as the zip directory gives it; `offset` is that of its local header. */
export interface Entry {
  readonly name: string;
  readonly crc: number;
  readonly size: number;
  readonly offset: number;
}

/** The bytes of a container of entries (ASCII name, data) in the given order. Throws BundleError where they are too large. */
export function writeContainer(entries: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const directory: Entry[] = [];
  let offset = 0;
  for (const [name, data] of entries) {
    const entry = { name, crc: crc32(data), size: data.length, offset };
    offset = endOf(entry);
    if (offset > MAX_CONTAINER_BYTES) {
      throw new BundleError(`${name} makes the bundle larger than 4 GiB, which the format does not hold.`);
    }
    directory.push(entry);
  }
  const central = directory.map(centralHeader);
  const length = central.reduce((total, header) => total + header.length, 0);
  const bytes = new Uint8Array(offset + length + END_SIZE);
  directory.forEach((entry, index) => {
    bytes.set(localHeader(entry), entry.offset);
    bytes.set(entries[index]![1], entry.offset + LOCAL_SIZE + entry.name.length);
  });
  let at = offset;
  for (const header of central) {
    bytes.set(header, at);
    at += header.length;
  }
  bytes.set(endRecord(directory.length, length, offset), at);
  return bytes;
}

/** Reads and checks the zip directory, and nothing else, of the bytes that messages call `path`. Throws BundleError. */
export function readDirectory(bytes: Uint8Array, path: string): Entry[] {
  if (bytes.length === 0) throw new BundleError(`${path} is empty; copy it again.`);
  const tail = bytes.subarray(Math.max(0, bytes.length - END_SIZE));
  const view = viewOf(tail);
  if (tail.length < END_SIZE || view.getUint32(0, true) !== END) {
    if (bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === LOCAL) {
      throw new BundleError(`${path} is cut off or has something appended to it; copy it again.`);
    }
    throw new BundleError(`${path} is not an edge-adapt bundle, which is a zip that ends in .edge.`);
  }
  const [count, length, start] = [view.getUint16(8, true), view.getUint32(12, true), view.getUint32(16, true)];
  if (!isSame(tail, endRecord(count, length, start)) || start + length + END_SIZE !== bytes.length) {
    throw new BundleError(`${path} has a damaged zip directory; copy it again.`);
  }
  if (count > MAX_ENTRIES || length > MAX_ENTRIES * (CENTRAL_SIZE + LONGEST_NAME)) {
    throw new BundleError(`${path} has more entries than a bundle can have (${MAX_ENTRIES}).`);
  }
  return parseDirectory(bytes.subarray(start, start + length), count, start, path);
}

function parseDirectory(directory: Uint8Array, count: number, start: number, path: string): Entry[] {
  const entries: Entry[] = [];
  const view = viewOf(directory);
  let [position, offset] = [0, 0];
  for (let index = 0; index < count; index++) {
    if (position + CENTRAL_SIZE > directory.length) {
      throw new BundleError(`${path} has a damaged zip directory; copy it again.`);
    }
    const field = (at: number): number => view.getUint32(position + at, true);
    const nameLength = view.getUint16(position + 28, true);
    const end = position + CENTRAL_SIZE + nameLength;
    const name = String.fromCharCode(...directory.subarray(position + CENTRAL_SIZE, Math.min(end, position + 4096)));
    if (!/^[\x20-\x7e]*$/.test(name) || nameLength > LONGEST_NAME) {
      throw new BundleError(`${path} has an entry whose name is not one of a bundle's.`);
    }
    const entry = { name, crc: field(16), size: field(24), offset: field(42) };
    if (view.getUint16(position + 10, true) !== 0 || field(20) !== entry.size) {
      throw new BundleError(
        `${path}: ${name} is compressed, and a bundle's entries are stored as they are; take the file as edge-adapt wrote it.`,
      );
    }
    if (!isSame(directory.subarray(position, end), centralHeader(entry))) {
      throw new BundleError(
        `${path}: the zip directory is damaged at ${name}, or another program wrote it; take the file as edge-adapt wrote it.`,
      );
    }
    if (entries.some((known) => known.name === name)) throw new BundleError(`${path} has the entry ${name} twice.`);
    if (entry.offset !== offset || endOf(entry) > start) {
      throw new BundleError(`${path}: ${name} overlaps another entry, leaves a gap or goes beyond the end.`);
    }
    entries.push(entry);
    [position, offset] = [end, endOf(entry)];
  }
  if (position !== directory.length || offset !== start) {
    throw new BundleError(`${path} has bytes that belong to no entry.`);
  }
  return entries;
}

/** An entry's data, shared; checks its local header and, unless the caller has a better sum, its CRC-32. */
export function readEntry(bytes: Uint8Array, entry: Entry, path: string, checkCrc = true): Uint8Array {
  const header = localHeader(entry);
  const found = bytes.subarray(entry.offset, entry.offset + header.length);
  const data = bytes.subarray(entry.offset + header.length, endOf(entry));
  if (!isSame(found, header) || (checkCrc && crc32(data) !== entry.crc)) {
    throw new BundleError(`${path}: ${entry.name} is damaged; copy the file again.`);
  }
  return data;
}

function endOf(entry: Entry): number {
  return entry.offset + LOCAL_SIZE + entry.name.length + entry.size;
}

function localHeader(entry: Entry): Uint8Array {
  const header = new Uint8Array(LOCAL_SIZE + entry.name.length);
  const view = viewOf(header);
  view.setUint32(0, LOCAL, true);
  describe(view, 4, entry);
  header.set(new TextEncoder().encode(entry.name), LOCAL_SIZE);
  return header;
}

function centralHeader(entry: Entry): Uint8Array {
  const header = new Uint8Array(CENTRAL_SIZE + entry.name.length);
  const view = viewOf(header);
  view.setUint32(0, CENTRAL, true);
  view.setUint16(4, MADE_BY, true);
  describe(view, 6, entry);
  view.setUint32(38, PERMISSIONS, true);
  view.setUint32(42, entry.offset, true);
  header.set(new TextEncoder().encode(entry.name), CENTRAL_SIZE);
  return header;
}

/** What both headers say: version needed, flags, method, time, date, CRC-32, both sizes and the length of the name. */
function describe(view: DataView, at: number, entry: Entry): void {
  view.setUint16(at, VERSION, true);
  view.setUint16(at + 8, DATE, true);
  view.setUint32(at + 10, entry.crc, true);
  view.setUint32(at + 14, entry.size, true);
  view.setUint32(at + 18, entry.size, true);
  view.setUint16(at + 22, entry.name.length, true);
}

function endRecord(count: number, length: number, start: number): Uint8Array {
  const record = new Uint8Array(END_SIZE);
  const view = viewOf(record);
  view.setUint32(0, END, true);
  view.setUint16(8, count, true);
  view.setUint16(10, count, true);
  view.setUint32(12, length, true);
  view.setUint32(16, start, true);
  return record;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isSame(first: Uint8Array, second: Uint8Array): boolean {
  return first.length === second.length && first.every((byte, at) => byte === second[at]);
}

const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum;
});

/** The CRC-32 of zip (ISO 3309). */
function crc32(data: Uint8Array): number {
  let sum = -1;
  for (let at = 0; at < data.length; at++) sum = CRC_TABLE[(sum ^ data[at]!) & 255]! ^ (sum >>> 8);
  return ~sum >>> 0;
}
