/** How things are said: numbers with nouns, and texts from outside as they may stand in a message. */

const MOST_SAID = 10_000; // characters of an error
const MOST_OF_PART = 500; // characters of what stands between two semicolons of an error
const MOST_OF_OTHERS = 300; // characters of what another library says, which may quote all of a file

// Controls, line breaks of Unicode, what turns the direction of text around, and halves of surrogate pairs.
const UNSEEN = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu;

/** A text on one line, whoever wrote it: what would steer a terminal or forge lines is escaped. */
export function shown(text: string): string {
  return text.replace(UNSEEN, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A text of at most so many characters, without its middle where it is longer. */
export function shortened(text: string, most: number): string {
  const tail = Math.floor(most / 4);
  return text.length <= most ? text : `${text.slice(0, most - tail - 5)} ... ${text.slice(-tail)}`;
}

/** What an error says, on one line, each of its parts short. */
export function sentence(text: string): string {
  const parts = shown(text).split("; ");
  return shortened(parts.map((part) => shortened(part, MOST_OF_PART)).join("; "), MOST_SAID);
}

/** A value from outside as it may stand in a message. */
export function quoted(value: unknown): string {
  const text = typeof value === "string" ? `'${shown(value)}'` : shown(String(value));
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

/** A number and its noun. */
export function plural(count: number, one: string): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? one : `${one}s`}`;
}

/** What another library's error says first, without a full stop. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return shortened(shown((text.trim().split("\n")[0] ?? "").replace(/[. ]+$/, "")), MOST_OF_OTHERS) || "no reason given";
}

/** The order of two texts by their code points, which is Python's; `<` compares the halves of surrogate pairs. */
export function compareTexts(first: string, second: string): number {
  const length = Math.min(first.length, second.length);
  for (let at = 0; at < length; at++) {
    const [one, other] = [first.charCodeAt(at), second.charCodeAt(at)];
    if (one !== other) return codePointRank(one) - codePointRank(other);
  }
  return first.length - second.length;
}

function codePointRank(unit: number): number {
  return unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
