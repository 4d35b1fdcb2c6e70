import { expect, test } from "vitest";
import { preprocess } from "../src/images/preprocessing.js";
import { look } from "../src/images/views.js";
import { sha256 } from "../src/index.js";
import { answers, photo, pixels } from "./goldens.js";

test("pixels are those of Python to the last bit", () => {
  for (const { image, preprocessing, sha256: due } of answers.preprocessed) {
    expect(sha256(preprocess(pixels(image), preprocessing).data)).toBe(due);
  }
});

const AS_IT_IS = { height: 8, width: 8, channels: 3, part: 1, ground: "any" } as const;

test("an image of the model's size is left as it is, and transparency is white", () => {
  const image = photo(1, 1);
  const seen = preprocess(image, AS_IT_IS);
  expect([...seen.data]).toEqual([...image.data].filter((_, at) => at % 4 !== 3));
  const clear = { ...image, data: image.data.map((value, at) => (at % 4 === 3 ? 0 : value)) };
  expect(preprocess(clear, AS_IT_IS).data.every((value) => value === 255)).toBe(true);
});

test("a drawing on a dark ground is turned over where the ground is to be light", () => {
  const data = new Uint8Array(4 * 64).map((_, at) => (at % 4 === 3 ? 255 : at < 16 ? 250 : 10));
  const image = { data, width: 8, height: 8 };
  const light = preprocess(image, { ...AS_IT_IS, ground: "light" });
  expect(light.data).toEqual(preprocess(image, AS_IT_IS).data.map((value) => 255 - value));
  const turned = { ...image, data: data.map((value, at) => (at % 4 === 3 ? 255 : 255 - value)) };
  expect(preprocess(turned, { ...AS_IT_IS, ground: "light" }).data).toEqual(light.data);
});

test("mirrored twice is as it was", () => {
  const image = preprocess(photo(2, 1), AS_IT_IS);
  const mirrored = look(image, { part: 1, mirrored: true });
  expect(mirrored.data).not.toEqual(image.data);
  expect(look(mirrored, { part: 1, mirrored: true }).data).toEqual(image.data);
});
