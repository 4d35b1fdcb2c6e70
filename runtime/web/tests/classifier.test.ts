import * as node from "onnxruntime-node";
import * as web from "onnxruntime-web/wasm";
import { describe, expect, test } from "vitest";
import {
  Classifier,
  DataError,
  EdgeAdaptError,
  ImageError,
  load,
  loadClassifier,
  loadModel,
  type OnnxRuntime,
  OTHER,
  Regressor,
} from "../src/index.js";
import { answers, golden, photo, pixels } from "./goldens.js";

const RUNTIMES: [string, OnnxRuntime][] = [["onnxruntime-node", node], ["onnxruntime-web", web]];
const shots = { a: [photo(1, 1), photo(1, 2), photo(1, 3)], b: [photo(2, 1), photo(2, 2)], c: [photo(3, 1)] };

const described = (classifier: Classifier): string[] => classifier.images.map((image) => `${image.label} ${image.name}`);

describe.each(RUNTIMES)("%s", (_, onnxruntime) => {
  test("golden vectors hold", async () => {
    const errors = await (await loadModel(golden("../../../../tests/data/tiny.edge"), { onnxruntime })).selfCheck();
    expect(Math.max(errors!.features, errors!.logits)).toBeLessThan(1e-5);
  });

  test("answers are those of Python", async () => {
    const mine = await loadClassifier(golden("mine.edge"), { onnxruntime });
    for (const { image, label, known, confidence, familiarity, scores } of answers.predictions) {
      const found = await mine.classify(pixels(image));
      expect([found.label, found.known, [...found.scores.keys()]]).toEqual([label, known, Object.keys(scores)]);
      expect(found.confidence).toBeCloseTo(confidence, 5);
      expect(found.familiarity).toBeCloseTo(familiarity, 4);
      expect([...found.scores.values()].reduce((sum, share) => sum + share)).toBeCloseTo(1, 9);
    }
    expect(await mine.check()).toEqual(answers.findings);
    const estimate = await mine.estimate();
    expect(estimate?.right).toBe(answers.estimate.right);
    expect(estimate?.accuracy).toBeCloseTo(answers.estimate.accuracy, 9);
    expect(estimate?.interval[0]).toBeCloseTo(answers.estimate.interval[0], 9);
  });

  test("values are those of Python", async () => {
    const gauge = await load(golden("gauge.edge"), { onnxruntime });
    if (!(gauge instanceof Regressor)) throw new Error("no regressor");
    const { image, values, intervals } = answers.measurement;
    const found = await gauge.predict(pixels(image));
    expect(gauge.names).toEqual(["litres"]);
    expect(found.values.get("litres")).toBeCloseTo(values["litres"]!, 4);
    expect(found.intervals.get("litres")![1]).toBeCloseTo(intervals["litres"]![1], 4);
  });

  test("what is saved answers as before, and is saved again as it is", async () => {
    const model = await loadModel(golden("model.edge"), { onnxruntime });
    const mine = await (await model.adapt({ ...shots, [OTHER]: [photo(9, 1)] })).rename("a", "\u{1f600}");
    const bytes = await mine.save();
    const again = await loadClassifier(bytes, { onnxruntime });
    expect(await again.save()).toEqual(bytes);
    expect(described(again)).toEqual(described(mine));
    expect(await again.classify(photo(2, 9))).toEqual(await mine.classify(photo(2, 9)));
    const stripped = await mine.strip();
    expect((await stripped.classify(photo(2, 9))).scores).toEqual((await mine.classify(photo(2, 9))).scores);
    expect(stripped.images.every((image) => image.name === "")).toBe(true);
  });
});

test("neither the order of images nor what was learned before counts", async () => {
  const model = await loadModel(golden("model.edge"));
  const once = await model.adapt(shots);
  const turned = await model.adapt({ c: shots.c, b: [...shots.b].reverse(), a: [...shots.a].reverse() });
  const added = await (await (await model.adapt({ a: shots.a, b: [shots.b[0]!] })).add("b", shots.b)).add("c", shots.c);
  for (const other of [turned, added]) {
    expect(described(other)).toEqual(described(once));
    expect(await other.classify(photo(1, 5))).toEqual(await once.classify(photo(1, 5)));
  }
});

test("each edit can be undone and done again", async () => {
  const model = await loadModel(golden("model.edge"));
  const start = await model.adapt(shots, { steps: 5 });
  const edits: ((from: Classifier) => Promise<Classifier>)[] = [
    (from) => from.add("d", [photo(4, 1), photo(4, 2)]),
    (from) => from.add(OTHER, [photo(9, 1)]),
    (from) => from.remove("a", "1-1.png"),
    (from) => from.remove("d"),
    (from) => from.rename("a", "z"),
    (from) => from.merge(["a", "c"], "ac"),
    (from) => from.correct(photo(1, 1), "b"),
    (from) => from.correct(photo(1, 1), { not: "a" }),
    (from) => from.correct(photo(7, 7), { not: "a" }),
  ];
  for (const edit of edits) {
    const base = await start.add("d", [photo(4, 3)]);
    const edited = await edit(base);
    expect(edited.steps).toBe(5);
    expect(described(edited)).not.toEqual(described(base));
    const back = await edited.undo();
    expect(described(back)).toEqual(described(base));
    expect(described(await back.redo())).toEqual(described(edited));
  }
});

test("progress is told, and losses fall", async () => {
  const told: [number, number][] = [];
  const model = await loadModel(golden("model.edge"));
  const mine = await model.adapt(shots, { steps: 20, onProgress: (done, total) => told.push([done, total]) });
  expect(told).toEqual([1, 2, 3, 4, 5, 6].map((done) => [done, 6]));
  expect(mine.losses.length).toBe(20);
  expect(mine.losses[19]).toBeLessThan(mine.losses[0]!);
});

test("what cannot be done is said in one sentence", async () => {
  const model = await loadModel(golden("model.edge"));
  const mine = await model.adapt(shots);
  const image = photo(1, 1);
  const refused: [() => Promise<unknown>, new (message: string) => Error, RegExp][] = [
    [() => model.adapt({ a: [image] }), DataError, /two classes or more \(a given\)/],
    [() => model.adapt({ a: [image], b: [] }), DataError, /class 'b' has no images/],
    [() => model.adapt({ a: [image], "b\n": [image] }), DataError, /cannot be a class name/],
    [() => model.adapt(shots, { steps: -1 }), EdgeAdaptError, /-1 steps are not possible/],
    [() => mine.classify({ ...image, width: 9 }), ImageError, /1-1.png has 256 bytes for 9 x 8 pixels/],
    [() => mine.classify({ ...image, width: 0 }), ImageError, /nothing to see/],
    [() => mine.add("a", shots.a), DataError, /has all of these images already/],
    [() => mine.correct(image, "a"), DataError, /is an image of 'a' already/],
    [() => mine.correct(image, { not: "x" }), DataError, /no class 'x'; there are a, b, c/],
    [() => mine.remove("a", "nothing"), DataError, /has no image 'nothing'/],
    [() => mine.rename("a", "b"), DataError, /there is a class 'b' already/],
    [() => mine.rename("a", "a"), DataError, /already/],
    [() => mine.undo(), DataError, /no edit to undo/],
    [() => mine.redo(), DataError, /no undone edit/],
    [() => loadModel(golden("mine.edge")), EdgeAdaptError, /adapted classifier where a meta-model is needed/],
    [() => loadClassifier(golden("model.edge")), EdgeAdaptError, /knows no classes yet/],
    [() => loadClassifier(golden("gauge.edge")), EdgeAdaptError, /reads values/],
  ];
  for (const [action, kind, message] of refused) {
    const error = await action().then(() => null, (found: unknown) => found);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toMatch(/^[^\n]+\.$/);
  }
});
