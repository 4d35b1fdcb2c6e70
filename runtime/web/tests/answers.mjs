// What the library gives, for a test in Python to compare: node answers.mjs ONNXRUNTIME JOB.json
//
// A job is {"images": [{"file", "width", "height", "name", "sha256"}], "does": [{"do": ..., ...}]}; an image is named by its number.
// Each thing that is done is answered in a line of JSON.
import { readFileSync, writeFileSync } from "node:fs";
import { Bundle } from "../dist/bundle/bundle.js";
import { Graphs } from "../dist/graphs.js";
import { preprocess } from "../dist/images/preprocessing.js";
import { EdgeAdaptError, load } from "../dist/index.js";

const [runtime, path] = process.argv.slice(2);
const onnxruntime = await import(runtime);
const { images, does } = JSON.parse(readFileSync(path, "utf8"));

function image(number) {
  const { file, ...rest } = images[number];
  return { data: new Uint8Array(readFileSync(file)), ...rest };
}

function byClass(numbers, of) {
  return Object.fromEntries(Object.entries(numbers).map(([label, found]) => [label, found.map(of)]));
}

let current = null; // the model, classifier or regressor that was opened or made last

const verbs = {
  preprocess: ({ image: number, preprocessing }) => Buffer.from(preprocess(image(number), preprocessing).data).toString("base64"),
  open: async ({ path }) => {
    current = await load(new Uint8Array(readFileSync(path)), { name: path, onnxruntime });
    return current.constructor.name;
  },
  selfCheck: () => current.selfCheck(),
  embed: async ({ image: number, asShot }) => Array.from((await current.embed(image(number), { asShot })).features),
  adapt: async ({ images: numbers, steps }) => {
    current = await current.adapt(byClass(numbers, image), { steps });
    return current.losses;
  },
  // To the images of a classifier in a file, with the features that it has of them.
  adaptAs: async ({ path, steps }) => {
    const shots = {};
    for (const shot of (await load(new Uint8Array(readFileSync(path)), { onnxruntime })).images) (shots[shot.label] ??= []).push(shot);
    current = await current.adaptEmbedded(shots, { steps });
    return current.losses;
  },
  add: async ({ label, images: numbers }) => void (current = await current.add(label, numbers.map(image))),
  correct: async ({ image: number, right }) => void (current = await current.correct(image(number), right)),
  edit: async ({ verb, given = [] }) => void (current = await current[verb](...given)),
  labels: () => [...current.counts],
  classify: async ({ images: numbers, unknownAt }) => {
    const answers = [];
    for (const number of numbers) {
      const answer = await current.classify(image(number), { unknownAt });
      answers.push({ ...answer, scores: Object.fromEntries(answer.scores) });
    }
    return answers;
  },
  logits: async ({ path, image: number }) => {
    const graphs = new Graphs(Bundle.open(new Uint8Array(readFileSync(path)), path), onnxruntime);
    const { features } = await graphs.embedImage(image(number));
    return Array.from((await graphs.predict([features], graphs.bundle.adaptation().headState))[0]);
  },
  predict: async ({ images: numbers }) => {
    const answers = [];
    for (const number of numbers) {
      const { values, intervals } = await current.predict(image(number));
      answers.push({ values: Object.fromEntries(values), intervals: Object.fromEntries(intervals) });
    }
    return answers;
  },
  check: () => current.check(),
  estimate: () => current.estimate(),
  save: async ({ path }) => writeFileSync(path, await current.save()),
};

for (const { do: verb, ...given } of does) {
  try {
    console.log(JSON.stringify({ answer: (await verbs[verb](given)) ?? null }));
  } catch (error) {
    if (!(error instanceof EdgeAdaptError)) throw error;
    console.log(JSON.stringify({ error: error.name, message: error.message }));
  }
}
