/** The runtime in a worker of this page, which stays responsive while a model computes. */

import type { Answer, Backend, Finding, LabelledPhoto, OnProgress, Photo, State } from "./backend";
import type { Reply, Request } from "./worker";

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly onProgress: OnProgress | undefined;
}

export class LocalBackend implements Backend {
  readonly isLocal = true;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #count = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = (event: MessageEvent<Reply>) => this.#answer(event.data);
    worker.onerror = () => this.#fail("The page is not whole; load it again.");
  }

  state = () => this.#ask("state", []) as Promise<State>;
  adapt = (photos: readonly LabelledPhoto[], onProgress: OnProgress) =>
    this.#ask("adapt", [photos], onProgress) as Promise<State>;
  add = (photos: readonly LabelledPhoto[], onProgress: OnProgress) =>
    this.#ask("add", [photos], onProgress) as Promise<State>;
  classify = (image: Blob | ImageBitmap) => this.#ask("classify", [image]) as Promise<Answer>;
  correct = (photo: Photo, correction: { label: string } | { never: string }) =>
    this.#ask("correct", [photo, correction]) as Promise<State>;
  remove = (label: string, sha256?: string) => this.#ask("remove", [label, sha256]) as Promise<State>;
  rename = (label: string, name: string) => this.#ask("rename", [label, name]) as Promise<State>;
  undo = () => this.#ask("undo", []) as Promise<State>;
  check = () => this.#ask("check", []) as Promise<readonly Finding[]>;
  save = () => this.#ask("save", []) as Promise<Blob>;
  load = (file: Blob) => this.#ask("load", [file]) as Promise<State>;

  #ask(verb: Request["verb"], values: readonly unknown[], onProgress?: OnProgress): Promise<unknown> {
    const number = (this.#count += 1);
    const moved = values.filter((value) => value instanceof ImageBitmap);
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject, onProgress });
      this.#worker.postMessage({ number, verb, values } satisfies Request, moved);
    });
  }

  #answer(reply: Reply): void {
    const waiting = this.#waiting.get(reply.number);
    if ("done" in reply) return waiting?.onProgress?.(reply.done, reply.total);
    this.#waiting.delete(reply.number);
    if ("error" in reply) waiting?.reject(new Error(reply.error));
    else waiting?.resolve(reply.value);
  }

  #fail(sentence: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(sentence));
    this.#waiting.clear();
  }
}
