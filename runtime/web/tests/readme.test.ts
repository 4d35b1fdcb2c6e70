/** The examples of the README, run, and what the package weighs. */

import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { PNG } from "pngjs";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Classifier } from "../src/index.js";
import { photo } from "./goldens.js";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const EXAMPLES = [...readFileSync(join(PACKAGE, "README.md"), "utf8").matchAll(/```js\n(.*?)```/gs)].map((found) => found[1]!);
const CHARACTERS = join(PACKAGE, "../models/characters.edge");

let folder = "";

beforeAll(() => {
  execFileSync("npm", ["run", "build", "--silent"], { cwd: PACKAGE });
  folder = mkdtempSync(join(PACKAGE, "tests", "readme-")); // where Node finds the package by its name
});

afterAll(() => rmSync(folder, { recursive: true }));

test("the example for Node", () => {
  const classes = { a1: 1, a2: 1, b1: 2, b2: 2, query: 2 };
  for (const [index, [name, picture]] of Object.entries(classes).entries()) {
    const { data, width, height } = photo(picture, index, 28);
    const png = Object.assign(new PNG({ width, height }), { data: Buffer.from(data) });
    writeFileSync(join(folder, `${name}.png`), PNG.sync.write(png));
  }
  cpSync(CHARACTERS, join(folder, "characters.edge"));
  writeFileSync(join(folder, "example.mjs"), EXAMPLES[1]!);
  const printed = execFileSync("node", ["example.mjs"], { cwd: folder, encoding: "utf8" });
  expect(printed.trim().split("\n").at(-1)).toMatch(/^(a|b|unknown) 0\.\d+ Map\(2\)/);
});

test("the example for a browser, with a browser's decoder in place of which another stands", async () => {
  class Bitmap {
    constructor(readonly width: number, readonly height: number, readonly data: Uint8Array) {}
    close(): void {}
  }
  class Canvas {
    constructor(public width: number, public height: number) {}
    getContext(): object {
      let drawn: Uint8Array;
      return { clearRect: () => {}, drawImage: ({ data }: Bitmap) => (drawn = data), getImageData: () => ({ data: drawn }) };
    }
  }
  const options: unknown[] = [];
  vi.stubGlobal("createImageBitmap", async (file: Blob, given: unknown) => {
    options.push(given);
    const { data, width, height } = PNG.sync.read(Buffer.from(await file.arrayBuffer()));
    return new Bitmap(width, height, data);
  });
  vi.stubGlobal("ImageBitmap", Bitmap);
  vi.stubGlobal("ImageData", class {});
  vi.stubGlobal("OffscreenCanvas", Canvas);
  vi.stubGlobal("fetch", async () => new Response(readFileSync(CHARACTERS)));
  const input = (picture: number): { files: File[] } => ({
    files: [1, 2].map((shot) => {
      const { data, width, height, name } = photo(picture, shot, 28);
      const png = PNG.sync.write(Object.assign(new PNG({ width, height }), { data: Buffer.from(data) }));
      return new File([new Uint8Array(png)], name!);
    }),
  });
  const module = EXAMPLES[0]!.replace("import {", "const {").replace('} from "edge-adapt"', "} = library");
  const AsyncFunction = (async () => {}).constructor as new (...text: string[]) => (...given: unknown[]) => Promise<unknown>;
  const example = new AsyncFunction("library", "photos", "others", "question", `${module}; return { mine, label, confidence, known, file };`);
  const { mine, label, file } = (await example(await import("../src/index.js"), input(1), input(2), input(2))) as {
    mine: Classifier;
    label: string;
    file: Blob;
  };
  expect(label).toBe("mug");
  expect(mine.images.map((image) => image.name).sort()).toEqual(["1-1.png", "1-2.png", "2-1.png", "2-2.png"]);
  expect(file.size).toBeGreaterThan(400_000);
  expect(options[0]).toEqual({ colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  vi.unstubAllGlobals();
});

test("the library is small", () => {
  const dist = join(PACKAGE, "dist");
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".js"));
  const size = gzipSync(Buffer.concat(files.map((name) => readFileSync(join(dist, name))))).length;
  expect(size).toBeLessThan(60_000);
});
