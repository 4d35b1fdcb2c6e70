/** SHA-256 (FIPS 180-4). The browser's own is there on secure origins alone, and asynchronous. */

/** The first 32 bits of the fractional parts of the roots of the first 64 primes. */
function fractions(root: (prime: number) => number, count: number): Uint32Array {
  const found: number[] = [];
  for (let candidate = 2; found.length < count; candidate++) {
    let isPrime = true;
    for (let divisor = 2; divisor * divisor <= candidate; divisor++) isPrime &&= candidate % divisor !== 0;
    if (isPrime) found.push((root(candidate) % 1) * 2 ** 32);
  }
  return Uint32Array.from(found);
}

const CONSTANTS = new Int32Array(fractions(Math.cbrt, 64));
const START = fractions(Math.sqrt, 8);
const BLOCK = 64;

/** The SHA-256 of all parts, one after another, in lower-case hexadecimal. */
export function sha256(...parts: readonly (Uint8Array | Uint8ClampedArray)[]): string {
  const state = new Int32Array(START);
  const schedule = new Int32Array(64);
  const block = new Uint8Array(BLOCK);
  let filled = 0;
  let total = 0;
  for (const part of parts) {
    total += part.length;
    let at = 0;
    if (filled > 0) {
      at = Math.min(BLOCK - filled, part.length);
      block.set(part.subarray(0, at), filled);
      filled += at;
      if (filled < BLOCK) continue;
      compress(state, schedule, block, 0);
      filled = 0;
    }
    for (; at + BLOCK <= part.length; at += BLOCK) compress(state, schedule, part, at);
    block.set(part.subarray(at));
    filled = part.length - at;
  }
  block.fill(0, filled);
  block[filled] = 0x80;
  if (filled >= BLOCK - 8) {
    compress(state, schedule, block, 0);
    block.fill(0);
  }
  const bits = new DataView(block.buffer);
  bits.setUint32(BLOCK - 8, Math.floor(total / 2 ** 29));
  bits.setUint32(BLOCK - 4, (total * 8) % 2 ** 32);
  compress(state, schedule, block, 0);
  return Array.from(new Uint32Array(state.buffer), (word) => word.toString(16).padStart(8, "0")).join("");
}

function compress(
  state: Int32Array,
  schedule: Int32Array,
  data: Uint8Array | Uint8ClampedArray,
  offset: number,
): void {
  for (let round = 0; round < 16; round++) {
    const at = offset + 4 * round;
    schedule[round] = (data[at]! << 24) | (data[at + 1]! << 16) | (data[at + 2]! << 8) | data[at + 3]!;
  }
  for (let round = 16; round < 64; round++) {
    const early = schedule[round - 15]!;
    const late = schedule[round - 2]!;
    const first = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3);
    const second = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10);
    schedule[round] = (schedule[round - 16]! + first + schedule[round - 7]! + second) | 0;
  }
  let a = state[0]!, b = state[1]!, c = state[2]!, d = state[3]!;
  let e = state[4]!, f = state[5]!, g = state[6]!, h = state[7]!;
  for (let round = 0; round < 64; round++) {
    const ofE = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
    const one = (h + ofE + ((e & f) ^ (~e & g)) + CONSTANTS[round]! + schedule[round]!) | 0;
    const ofA = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
    const other = (ofA + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g; g = f; f = e; e = (d + one) | 0;
    d = c; c = b; b = a; a = (one + other) | 0;
  }
  state[0]! += a; state[1]! += b; state[2]! += c; state[3]! += d;
  state[4]! += e; state[5]! += f; state[6]! += g; state[7]! += h;
}

function rotated(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}
