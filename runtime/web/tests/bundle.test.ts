import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { Bundle } from "../src/bundle/bundle.js";
import { writeContainer } from "../src/bundle/container.js";
import { arrayFromNpy, arrayToNpy } from "../src/bundle/npy.js";
import { dumpJson, type Json, loadJson, Real, repr } from "../src/bundle/strict_json.js";
import { BundleError } from "../src/errors.js";
import { load, sha256 } from "../src/index.js";
import { answers, golden } from "./goldens.js";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

test("what Python wrote is written again byte for byte", async () => {
  for (const name of ["mine.edge", "gauge.edge", "../../../../tests/data/golden_classifier.edge"]) {
    const bytes = golden(name);
    const bundle = Bundle.open(bytes, name);
    expect(bundle.adapted(bundle.adaptation(), bundle.history())).toEqual(bytes);
  }
});

test("SHA-256 is that of Node at every length around a block", () => {
  const data = Uint8Array.from({ length: 200 }, (_, at) => (at * 37) & 255);
  for (let length = 0; length <= data.length; length++) {
    const part = data.subarray(0, length);
    const due = createHash("sha256").update(part).digest("hex");
    expect(sha256(part)).toBe(due);
    expect(sha256(part.subarray(0, 50), part.subarray(50, 61), part.subarray(61))).toBe(due);
  }
});

test("numbers are written as Python writes them", () => {
  for (const [number, due] of answers.numbers) expect(repr(number)).toBe(due);
});

test("JSON comes back as it was, and whole numbers apart from others", () => {
  const text = '{"a":[1,1.0,-0.0,1e-07,null,true,"\\"\\\\\\n\u00fc\u{1f600}"],"b":{}}';
  const value = loadJson(bytesOf(` ${text}\n`), "it") as Map<string, Json>;
  const list = value.get("a") as Json[];
  expect(list[0]).toBe(1);
  expect(list[1]).toEqual(new Real(1));
  expect(new TextDecoder().decode(dumpJson({ a: list as never, b: {} }, "it"))).toBe(text);
});

test.each([
  '{"a":1,"a":1}', "NaN", "[Infinity]", "[1,]", "{'a':1}", "01", "[1 2]", '"\n"', "", "[1", `${"[".repeat(200)}`, "123456789012345678901",
  '"\\x"', "\ufeff1", "1 1",
])("JSON that is none is refused: %j", (text) => {
  expect(() => loadJson(bytesOf(text), "it")).toThrow(/^it is not valid JSON/);
});

test("JSON that is no UTF-8 is refused", () => {
  expect(() => loadJson(Uint8Array.of(0x22, 0xff, 0x22), "it")).toThrow(BundleError);
});

test("arrays come back as they were", () => {
  const float32 = { dtype: "float32", data: Float32Array.of(1, -2, 3, 4, 5, 6), shape: [2, 3] } as const;
  const int64 = { dtype: "int64", data: BigInt64Array.of(-1n), shape: [] } as const;
  const empty = { dtype: "float32", data: new Float32Array(), shape: [0, 4] } as const;
  for (const array of [float32, int64, empty]) {
    const bytes = arrayToNpy(array);
    expect(arrayFromNpy(bytes, "it")).toEqual(array);
    expect(() => arrayFromNpy(bytes.subarray(0, 100), "it")).toThrow(BundleError);
  }
  const infinite = arrayToNpy({ ...float32, data: Float32Array.of(1, 2, 3, 4, 5, Number.POSITIVE_INFINITY) });
  expect(() => arrayFromNpy(infinite, "it")).toThrow(/holds a NaN or an infinity/);
});

test("a file that is no bundle is refused in one sentence that names it", async () => {
  const whole = golden("mine.edge");
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(), /^mine is empty/],
    [bytesOf("hello, this is no zip at all"), /^mine is not an edge-adapt bundle/],
    [whole.subarray(0, 5000), /^mine is cut off/],
    [Uint8Array.of(...whole, 0), /^mine is cut off/],
    [writeContainer([["other.json", bytesOf("{}")]]), /manifest.json is not its first entry/],
    [writeContainer([["manifest.json", bytesOf('{"format_version":7}')]]), /format version 7, and this edge-adapt reads versions 1 to 6/],
    [writeContainer([["manifest.json", bytesOf('{"format_version":1}')]]), /lacks "task"/],
  ];
  for (const [bytes, message] of cases) await expect(load(bytes, { name: "mine" })).rejects.toThrow(message);
});

test("a damaged byte anywhere is found", () => {
  const whole = golden("mine.edge");
  for (let place = 0; place < whole.length; place += 97) {
    const damaged = Uint8Array.from(whole);
    damaged[place]! ^= 4;
    expect(() => {
      const bundle = Bundle.open(damaged, "mine");
      for (const name of ["embed.onnx", "adapt.onnx", "predict.onnx"] as const) bundle.graph(name);
      bundle.adaptation();
      bundle.history();
    }).toThrow(BundleError);
  }
});
