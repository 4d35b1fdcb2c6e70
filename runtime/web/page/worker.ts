/** The runtime, which answers the page one request after the other. */

import { decode, load, type Classifier, type EmbeddedImage, type MetaModel, type Regressor } from "../src/index";
import type { Answer, Backend, LabelledPhoto, Photo, State, TaughtClass } from "./backend";

type Verb = Exclude<keyof Backend, "isLocal">;

export interface Request {
  readonly number: number;
  readonly verb: Verb;
  readonly values: readonly unknown[];
}

export type Reply =
  | { readonly number: number; readonly value: unknown }
  | { readonly number: number; readonly error: string }
  | { readonly number: number; readonly done: number; readonly total: number };

type Model = MetaModel | Classifier | Regressor;
type Report = (done: number, total: number) => void;

/** Images that are embedded for nothing, at first. */
const WARM_UPS = 10;

/** What the site begins with, which lies beside this file. */
let current: Promise<Model> = fetch("model.edge").then(async (answer) => {
  if (!answer.ok) throw new Error("The model cannot be loaded; load the page again.");
  return load(new Uint8Array(await answer.arrayBuffer()), { name: "model.edge" });
});
current.catch(() => undefined); // whoever asks for it is told

const verbs = {
  state: async () => stateOf(await current),
  adapt: async (photos: readonly LabelledPhoto[], report: Report) => {
    const model = await current;
    if (!("adapt" in model)) throw new Error("These classes are taught already; add to them.");
    return become(await model.adaptEmbedded(await shots(model, photos, report)));
  },
  classify: async (image: Blob | ImageBitmap) => answerOf(await current, image),
  add: async (photos: readonly LabelledPhoto[], report: Report) => {
    let classifier = await taught();
    for (const [label, images] of Object.entries(await shots(classifier, photos, report))) {
      classifier = await classifier.addEmbedded(label, images);
    }
    return become(classifier);
  },
  correct: async ({ image, name }: Photo, correction: { label: string } | { never: string }) => {
    const right = "label" in correction ? correction.label : { not: correction.never };
    return become(await (await taught()).correct(await decode(image, name), right));
  },
  remove: async (label: string, sha256?: string) => become(await (await taught()).remove(label, ...(sha256 ? [sha256] : []))),
  rename: async (label: string, name: string) => become(await (await taught()).rename(label, name)),
  undo: async () => become(await (await taught()).undo()),
  check: async () => (await taught()).check(),
  save: async () => {
    const model = await current;
    if ("adapt" in model) throw new Error("Nothing is learned yet; first teach some classes.");
    return new Blob([(await model.save()) as Uint8Array<ArrayBuffer>], { type: "application/octet-stream" });
  },
  load: async (file: Blob) => become(await load(new Uint8Array(await file.arrayBuffer()), { name: "the file" })),
} satisfies Record<Verb, unknown>;

/** One request after the other: an edit does not overtake the one before. */
let last: Promise<unknown> = Promise.resolve();
let asked = 0;
onmessage = ({ data }: MessageEvent<Request>) => {
  asked += 1;
  last = last.then(() => serve(data));
  if (asked === 1) last = last.then(warmUp).catch(() => undefined);
};

/** Browsers make code fast once it has run often: that begins while photos are chosen, and ends where something is asked. */
async function warmUp(): Promise<void> {
  const model = await current;
  const blank = { data: new Uint8ClampedArray(4), width: 1, height: 1 };
  for (let run = 0; run < WARM_UPS && asked === 1 && "embed" in model; run += 1) {
    await model.embed(blank);
    await new Promise((go) => setTimeout(go)); // lets questions in
  }
}

async function serve({ number, verb, values }: Request): Promise<void> {
  const reply = (answer: Reply) => postMessage(answer);
  try {
    const report: Report = (done, total) => reply({ number, done, total });
    const run = verbs[verb] as (...values: unknown[]) => Promise<unknown>;
    reply({ number, value: await run(...values, report) });
  } catch (error) {
    reply({ number, error: error instanceof Error ? error.message : String(error) });
  }
}

async function taught(): Promise<Classifier> {
  const model = await current;
  if (!("classify" in model)) throw new Error("There are no classes here yet; first teach some.");
  return model;
}

async function become(model: Model): Promise<State> {
  const state = await stateOf(model);
  current = Promise.resolve(model);
  return state;
}

async function shots(
  model: MetaModel | Classifier,
  photos: readonly LabelledPhoto[],
  report: Report,
): Promise<Record<string, EmbeddedImage[]>> {
  const embedded = new Map<string, EmbeddedImage[]>();
  for (const [index, { image, name, label }] of photos.entries()) {
    const shot = await model.embed(await decode(image, name), { asShot: true });
    embedded.set(label, [...(embedded.get(label) ?? []), shot]);
    report(index + 1, photos.length);
  }
  return Object.fromEntries(embedded);
}

async function answerOf(model: Model, image: Blob | ImageBitmap): Promise<Answer> {
  const pixels = await decode(image);
  if (image instanceof ImageBitmap) image.close();
  if ("classify" in model) {
    const { label, confidence, known, scores } = await model.classify(pixels);
    return { kind: "class", label, confidence, known, scores: [...scores] };
  }
  if ("adapt" in model) throw new Error("Nothing is learned yet; first teach some classes.");
  const { values, intervals } = await model.predict(pixels);
  const readings = [...values].map(([name, value]) => {
    const [low, high] = intervals.get(name) ?? [value, value];
    return { name, value, low, high };
  });
  return { kind: "values", readings };
}

const NOTHING = { classes: [], losses: [], estimate: null, lastEdit: null, values: [] };

async function stateOf(model: Model): Promise<State> {
  const named = { ...NOTHING, model: model.manifest.name };
  if ("adapt" in model) return { ...named, kind: "model" };
  if ("predict" in model) return { ...named, kind: "regressor", values: model.names };
  const estimate = await model.estimate();
  const { edits, done } = model.history;
  return {
    ...named,
    kind: "classifier",
    classes: classesOf(model),
    losses: model.losses,
    estimate: estimate && { ...estimate, low: estimate.interval[0], high: estimate.interval[1] },
    lastEdit: edits[done - 1]?.what ?? null,
  };
}

function classesOf({ images }: Classifier): TaughtClass[] {
  const classes = new Map<string, TaughtClass["shots"]>();
  for (const { label, name, sha256 } of images) classes.set(label, [...(classes.get(label) ?? []), { name, sha256 }]);
  return [...classes].map(([label, shots]) => ({ label, shots }));
}
