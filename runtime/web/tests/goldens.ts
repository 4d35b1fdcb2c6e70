/** What Python wrote for these tests; `python -m tests.web_goldens` makes it. */

import { readFileSync } from "node:fs";
import type { Pixels } from "../src/index.js";

export interface GoldenImage {
  readonly data: string;
  readonly width: number;
  readonly height: number;
}

interface Answers {
  readonly numbers: readonly [number, string][];
  readonly preprocessed: readonly {
    readonly image: GoldenImage;
    readonly preprocessing: { height: number; width: number; channels: 1 | 3; part: number; ground: "any" | "light" };
    readonly sha256: string;
  }[];
  readonly predictions: readonly {
    readonly image: GoldenImage;
    readonly label: string;
    readonly confidence: number;
    readonly known: boolean;
    readonly familiarity: number;
    readonly scores: Readonly<Record<string, number>>;
  }[];
  readonly findings: readonly unknown[];
  readonly estimate: { readonly accuracy: number; readonly interval: [number, number]; readonly right: number };
  readonly measurement: {
    readonly image: GoldenImage;
    readonly values: Readonly<Record<string, number>>;
    readonly intervals: Readonly<Record<string, [number, number]>>;
  };
}

/** The bytes of a file in tests/golden, or by its path from there. */
export function golden(name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`golden/${name}`, import.meta.url)));
}

export const answers = JSON.parse(new TextDecoder().decode(golden("answers.json"))) as Answers;

export function pixels({ data, width, height }: GoldenImage): Pixels {
  return { data: new Uint8Array(Buffer.from(data, "base64")), width, height };
}

/** A noisy image of a class, which is a picture. */
export function photo(picture: number, shot: number, side = 8): Pixels {
  const data = new Uint8Array(4 * side * side);
  let state = 1 + picture * 7919 + shot * 104729;
  for (let at = 0; at < data.length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    const level = 40 + ((Math.imul(at + 1, 2654435761 + picture * 97) >>> 16) % 160);
    data[at] = at % 4 === 3 ? 255 : level + ((state >> 16) % 30);
  }
  return { data, width: side, height: side, name: `${picture}-${shot}.png` };
}
