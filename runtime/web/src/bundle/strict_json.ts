/** JSON from outside, read strictly: each key is expected, of the right type and in bounds, or BundleError. */

import { BundleError } from "../errors.js";
import { quoted } from "../words.js";

export const LARGEST_INTEGER = 2 ** 31 - 1;
/** Of float32; finite, so that 1e999 is out of range. */
export const LARGEST_FLOAT = 3.4028234663852886e38;

const DEEPEST = 100;
const MOST_DIGITS = 20;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const BLANKS = /[ \t\n\r]*/y;
// No control characters, which could steer a terminal, and no half of a surrogate pair.
const NO_LINE = /[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]/u;
const SHA256 = /^[0-9a-f]{64}$/;

/** A number that JSON writes with a point or an exponent, and Python calls a float; a whole number is a `number`. */
export class Real {
  constructor(readonly value: number) {}
}

/** What a JSON text holds. */
export type Json = null | boolean | number | string | Real | Json[] | Map<string, Json>;

/** What `dumpJson` writes: keys in the order given, none like a whole number. */
export type Dumpable = null | boolean | number | string | Real | readonly Dumpable[] | { readonly [key: string]: Dumpable };

/** UTF-8 without blanks, keys in the order given, numbers as Python's `repr` writes them. */
export function dumpJson(value: Dumpable, where: string): Uint8Array {
  return new TextEncoder().encode(written(value, where));
}

function written(value: Dumpable, where: string): string {
  if (value instanceof Real) {
    if (!Number.isFinite(value.value)) throw new BundleError(`${where} cannot hold a number that is not finite.`);
    return repr(value.value);
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (isList(value)) return `[${value.map((item) => written(item, where)).join(",")}]`;
  const pairs = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}:${written(item, where)}`);
  return `{${pairs.join(",")}}`;
}

function isList(value: readonly Dumpable[] | { readonly [key: string]: Dumpable }): value is readonly Dumpable[] {
  return Array.isArray(value);
}

/** A finite float as Python writes it: the fewest digits that give it back, with an exponent below 1e-4 and from 1e16 on. */
export function repr(value: number): string {
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const [mantissa = "", exponentText = ""] = Math.abs(value).toExponential().split("e");
  const digits = mantissa.replace(".", "");
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    const power = String(Math.abs(exponent)).padStart(2, "0");
    return `${sign}${mantissa}e${exponent < 0 ? "-" : "+"}${power}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

/** Whether a text has no control characters, as names and labels in a bundle must not. */
export function isLine(text: string): boolean {
  return !NO_LINE.test(text);
}

/** The value that `data` holds. Refuses doubled keys, NaN, infinities and numbers of absurd length. */
export function loadJson(data: Uint8Array, where: string): Json {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new BundleError(`${where} is not valid JSON (it is no UTF-8).`);
  }
  return new Parser(text, where).whole();
}

class Parser {
  #at = 0;

  constructor(private readonly text: string, private readonly where: string) {}

  whole(): Json {
    const value = this.#value(0);
    this.#blanks();
    if (this.#at < this.text.length) this.#fail(`something stands behind it, at ${this.#at}`);
    return value;
  }

  #value(depth: number): Json {
    if (depth > DEEPEST) this.#fail("nested too deeply");
    this.#blanks();
    const first = this.text[this.#at];
    if (first === "{") return this.#object(depth);
    if (first === "[") return this.#list(depth);
    if (first === '"') return this.#string();
    for (const [word, value] of [["null", null], ["true", true], ["false", false]] as const) {
      if (this.text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#number();
  }

  #object(depth: number): Map<string, Json> {
    const found = new Map<string, Json>();
    this.#at++;
    if (this.#takes("}")) return found;
    do {
      this.#blanks();
      if (this.text[this.#at] !== '"') this.#fail(`a key is missing at ${this.#at}`);
      const key = this.#string();
      if (!this.#takes(":")) this.#fail(`a colon is missing at ${this.#at}`);
      if (found.has(key)) this.#fail("a key stands twice in one object");
      found.set(key, this.#value(depth + 1));
    } while (this.#takes(","));
    if (!this.#takes("}")) this.#fail(`an object does not end at ${this.#at}`);
    return found;
  }

  #list(depth: number): Json[] {
    const found: Json[] = [];
    this.#at++;
    if (this.#takes("]")) return found;
    do found.push(this.#value(depth + 1));
    while (this.#takes(","));
    if (!this.#takes("]")) this.#fail(`a list does not end at ${this.#at}`);
    return found;
  }

  #string(): string {
    const start = this.#at;
    let end = this.text.indexOf('"', start + 1);
    while (end >= 0 && this.#isEscaped(start, end)) end = this.text.indexOf('"', end + 1);
    if (end < 0) this.#fail("a text does not end");
    this.#at = end + 1;
    try {
      return JSON.parse(this.text.slice(start, end + 1)) as string;
    } catch {
      return this.#fail(`a text is malformed at ${start}`);
    }
  }

  #isEscaped(start: number, end: number): boolean {
    let backslashes = 0;
    while (end - 1 - backslashes > start && this.text[end - 1 - backslashes] === "\\") backslashes++;
    return backslashes % 2 === 1;
  }

  #number(): number | Real {
    NUMBER.lastIndex = this.#at;
    const found = NUMBER.exec(this.text);
    if (!found) return this.#fail(`there is no value at ${this.#at}`);
    this.#at = NUMBER.lastIndex;
    if (found[1] !== undefined || found[2] !== undefined) return new Real(Number(found[0]));
    if (found[0].length > MOST_DIGITS) this.#fail("a number has too many digits");
    return Number(found[0]);
  }

  #takes(character: string): boolean {
    this.#blanks();
    const isThere = this.text[this.#at] === character;
    if (isThere) this.#at++;
    return isThere;
  }

  #blanks(): void {
    BLANKS.lastIndex = this.#at;
    BLANKS.exec(this.text);
    this.#at = BLANKS.lastIndex;
  }

  #fail(reason: string): never {
    throw new BundleError(`${this.where} is not valid JSON (${reason}).`);
  }
}

/** The keys of one JSON object, taken one by one; messages begin with `where`, the file and the object. */
export class Fields {
  readonly #left: Map<string, Json>;

  constructor(value: Json, readonly where: string) {
    if (!(value instanceof Map)) throw new BundleError(`${where} is not a JSON object.`);
    this.#left = new Map(value);
  }

  /** Throws BundleError: `fault` follows the name of the file and object. */
  fail(fault: string): never {
    throw new BundleError(`${this.where} ${fault}.`);
  }

  has(key: string): boolean {
    return this.#left.has(key);
  }

  /** The value of `key`, of any type; a missing key is refused. */
  take(key: string): Json {
    const value = this.#left.get(key);
    if (value === undefined) return this.fail(`lacks "${key}"`);
    this.#left.delete(key);
    return value;
  }

  /** Refuses keys that were not taken: to pass over one that matters would be to misread the file. */
  done(): void {
    for (const key of this.#left.keys()) this.fail(`has the unknown key ${quoted(key)}`);
  }

  /** A text without control characters. */
  line(key: string, empty = false): string {
    return this.checkLine(this.take(key), `"${key}"`, empty);
  }

  /** `value`, if it is a text as in `line`; `what` names it. */
  checkLine(value: Json, what: string, empty = false): string {
    if (typeof value !== "string" || !(value || empty) || !isLine(value)) {
      return this.fail(`has ${what} that is not one line of text`);
    }
    return value;
  }

  /** One of the given texts. */
  choice<Choice extends string>(key: string, choices: readonly Choice[]): Choice {
    const value = this.take(key);
    const found = choices.find((choice) => choice === value);
    if (found === undefined) {
      return this.fail(`has "${key}" ${quoted(value)}, and this version knows only ${choices.join(", ")}`);
    }
    return found;
  }

  /** 64 lower-case hexadecimal digits. */
  sha256(key: string): string {
    const value = this.take(key);
    if (typeof value !== "string" || !SHA256.test(value)) {
      return this.fail(`has "${key}" that is not a SHA-256 in hexadecimal`);
    }
    return value;
  }

  /** An integer, `true` and `1.0` not counting as one, in least..most. */
  integer(key: string, least: number, most: number = LARGEST_INTEGER): number {
    const value = this.take(key);
    if (typeof value !== "number" || value < least || value > most) {
      return this.fail(`has "${key}" that is not an integer from ${least} to ${most}`);
    }
    return value;
  }

  /** True or false. */
  boolean(key: string): boolean {
    const value = this.take(key);
    if (typeof value !== "boolean") return this.fail(`has "${key}" ${quoted(value)}, which is neither true nor false`);
    return value;
  }

  /** Whether `key` is null, which then counts as taken. */
  isNull(key: string): boolean {
    if (this.#left.get(key) !== null) return false;
    this.#left.delete(key);
    return true;
  }

  /** A finite number in least..most. */
  number(key: string, least: number, most: number): number {
    return this.checkNumber(this.take(key), `"${key}"`, least, most);
  }

  /** `value`, if it is a number as in `number`; `what` names it. */
  checkNumber(value: Json, what: string, least: number, most: number): number {
    const found = value instanceof Real ? value.value : value;
    if (typeof found !== "number" || found < least || found > most) {
      return this.fail(`has ${what} that is not a number from ${least} to ${most}`);
    }
    return found;
  }

  /** The object at `key`. */
  child(key: string): Fields {
    return new Fields(this.take(key), `${this.where} ("${key}")`);
  }

  /** A list of at most so many items, of any types. */
  items(key: string, most: number = LARGEST_INTEGER): Json[] {
    const value = this.take(key);
    if (!Array.isArray(value) || value.length > most) {
      return this.fail(`has "${key}" that is not a list of at most ${most} items`);
    }
    return value;
  }
}
