/** What the page asks of whatever holds the classifier: the runtime in a worker, or a service. */

/** A photo with the name that the classifier remembers it by. */
export interface Photo {
  readonly name: string;
  readonly image: Blob;
}

/** A photo to teach, and its class. */
export interface LabelledPhoto extends Photo {
  readonly label: string;
}

/** A photo that a class was taught with; of itself only name and SHA-256 are kept. */
export interface Shot {
  readonly name: string;
  readonly sha256: string;
}

export interface TaughtClass {
  readonly label: string;
  readonly shots: readonly Shot[];
}

/** The accuracy to expect, from shots that were left out; all from 0 to 1 but the counts. */
export interface Estimate {
  readonly accuracy: number;
  readonly low: number;
  readonly high: number;
  readonly right: number;
  readonly leftOut: number;
}

/** What there is: a model that knows no class yet, a classifier, or a regressor, which reads values. */
export interface State {
  readonly kind: "model" | "classifier" | "regressor";
  readonly model: string;
  /** In the order of their names; photos of no class are those of `OTHER`, the last. */
  readonly classes: readonly TaughtClass[];
  /** The support loss before each step. */
  readonly losses: readonly number[];
  readonly estimate: Estimate | null;
  /** The last edit, which `undo` takes back. */
  readonly lastEdit: string | null;
  /** The names of the values that a regressor reads. */
  readonly values: readonly string[];
}

export interface ClassAnswer {
  readonly kind: "class";
  readonly label: string;
  /** From 0 to 1. */
  readonly confidence: number;
  /** Whether the image looks like one of the classes at all. */
  readonly known: boolean;
  /** Of every class, the most probable first. */
  readonly scores: readonly (readonly [label: string, probability: number])[];
}

export interface Reading {
  readonly name: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface ValueAnswer {
  readonly kind: "values";
  readonly readings: readonly Reading[];
}

export type Answer = ClassAnswer | ValueAnswer;

/** Something that will cost accuracy. */
export interface Finding {
  readonly kind: string;
  readonly text: string;
  readonly classes: readonly string[];
  readonly images: readonly string[];
}

/** In place of a class: photos of none. */
export const OTHER = "_other";

/** How far a piece of work has come, in photos. */
export type OnProgress = (done: number, total: number) => void;

/** Each verb answers with what there is afterwards, or rejects with an error whose message is one sentence. */
export interface Backend {
  /** Whether photos stay on this device, and files can be opened in place of what there is. */
  readonly isLocal: boolean;
  state(): Promise<State>;
  adapt(photos: readonly LabelledPhoto[], onProgress: OnProgress): Promise<State>;
  classify(image: Blob | ImageBitmap): Promise<Answer>;
  add(photos: readonly LabelledPhoto[], onProgress: OnProgress): Promise<State>;
  /** Exactly one of `label` and `never`, a class that it is not. */
  correct(photo: Photo, correction: { label: string } | { never: string }): Promise<State>;
  /** A class, or one of its shots. */
  remove(label: string, sha256?: string): Promise<State>;
  rename(label: string, name: string): Promise<State>;
  undo(): Promise<State>;
  check(): Promise<readonly Finding[]>;
  /** The `.edge` file. */
  save(): Promise<Blob>;
  load(file: Blob): Promise<State>;
}
