/** What a visitor can do: each asks the backend and puts what there is afterwards into the store. */

import { OTHER, type Backend, type State } from "./backend";
import { seen, type GivenFile, type NamedFile } from "./photos";
import { TokenError } from "./service_backend";
import type { Draft, SeenPhoto, Store } from "./store";
import { classesReady, plural } from "./words";

export class Actions {
  readonly #backend: Backend;
  readonly #store: Store;
  /** Every photo that the page has seen, by SHA-256. */
  readonly photos = new Map<string, SeenPhoto>();
  /** A class stays the same element on the page when its name changes. */
  readonly #keys = new Map<string, string>();
  #count = 0;

  constructor(backend: Backend, store: Store) {
    this.#backend = backend;
    this.#store = store;
  }

  keyOf(label: string): string {
    const key = this.#keys.get(label) ?? this.#newKey();
    this.#keys.set(label, key);
    return key;
  }

  /** What the page begins with. */
  open = () => this.#work("Loading the model", async () => {
    const state = await this.#backend.state().catch((error: unknown) => {
      this.#store.set({ wantsToken: error instanceof TokenError });
      throw error;
    });
    this.#store.set({ state, wantsToken: false, drafts: state.kind === "model" ? [this.#draft(), this.#draft()] : [] });
  });

  /** One more class to name; `OTHER` is the one of photos of none. */
  addDraft(label = ""): string {
    const draft = this.#draft(label);
    this.#store.set({ drafts: [...this.#store.view.drafts, draft] });
    this.#store.focus(label ? `choose-${draft.key}` : `name-${draft.key}`);
    return draft.key;
  }

  nameDraft(key: string, label: string): void {
    this.#changeDraft(key, (draft) => ({ ...draft, label: label.trim() }));
  }

  dropDraft(key: string): void {
    this.#store.set({ drafts: this.#store.view.drafts.filter((draft) => draft.key !== key) });
    this.#store.focus("teach");
  }

  dropDraftPhoto(key: string, sha256: string): void {
    this.#changeDraft(key, (draft) => ({ ...draft, photos: draft.photos.filter((photo) => photo.sha256 !== sha256) }));
    this.#store.focus(`choose-${key}`);
  }

  /** Photos of a class that is not taught yet wait for `learn`. */
  async addToDraft(key: string, files: readonly NamedFile[]): Promise<void> {
    const photos = await this.#seen(files);
    this.#changeDraft(key, (draft) => {
      const known = new Set(draft.photos.map((photo) => photo.sha256));
      return { ...draft, photos: [...draft.photos, ...photos.filter((photo) => !known.has(photo.sha256))] };
    });
  }

  /** Photos of a class that is taught already are learned at once. */
  addToClass = (label: string, files: readonly NamedFile[]) => this.#work(
    `Learning ${plural(files.length, "photo")}`,
    async (onProgress) => {
      const photos = await this.#seen(files);
      await this.#became(this.#backend.add(photos.map((photo) => ({ ...photo, label })), onProgress));
      this.#say(`${shown(label)} has ${plural(photos.length, "more photo", "more photos")}.`);
    },
  );

  /** A folder for each class, as `edge-adapt adapt` takes them. */
  async addFolders(given: readonly GivenFile[]): Promise<void> {
    const folders = new Map<string, NamedFile[]>();
    for (const one of given) folders.set(one.folder, [...(folders.get(one.folder) ?? []), one]);
    if (folders.size === 0) {
      return this.#fail(new Error("There are no images in this folder; choose one with a folder of photos for each class."));
    }
    for (const [label, files] of folders) {
      const taught = this.#store.view.state?.classes.some((one) => one.label === label);
      if (taught) await this.addToClass(label, files);
      else await this.addToDraft(this.#draftOf(label).key, files);
    }
    this.#store.focus("learn");
  }

  /** Teach what waits: all classes at first, and later those that are new. */
  learn = () => {
    const { drafts, state } = this.#store.view;
    const ready = classesReady(drafts);
    const photos = ready.flatMap(({ label, photos }) => photos.map((photo) => ({ ...photo, label })));
    return this.#work(`Learning ${plural(photos.length, "photo")}`, async (onProgress) => {
      const verb = state?.kind === "model" ? "adapt" : "add";
      await this.#became(this.#backend[verb](photos, onProgress));
      for (const { label, key } of ready) this.#keys.set(label, key);
      this.#store.set({ drafts: this.#store.view.drafts.filter((draft) => !ready.includes(draft)) });
      this.#store.focus("learned");
      this.#say(`Learned ${plural(ready.length, "class", "classes")} from ${plural(photos.length, "photo")}.`);
    });
  };

  rename = (label: string, name: string) => this.#work("Renaming", async () => {
    const key = this.keyOf(label);
    await this.#became(this.#backend.rename(label, name));
    this.#keys.set(name, key);
    this.#keys.delete(label);
    this.#say(`${label} is called ${name} now.`);
  });

  removeClass = (label: string) => this.#work("Removing", async () => {
    await this.#became(this.#backend.remove(label));
    this.#store.focus("teach");
    this.#say(`${shown(label)} is gone; Undo brings it back.`);
  });

  removeShot = (label: string, sha256: string) => this.#work("Removing", async () => {
    await this.#became(this.#backend.remove(label, sha256));
    this.#store.set({ looked: null });
    this.#store.focus(`choose-${this.keyOf(label)}`);
    this.#say(`The photo is gone from ${shown(label)}; Undo brings it back.`);
  });

  /** What a photo shows in truth: a class, or one that it does not show. */
  correct = (photo: SeenPhoto, correction: { label: string } | { never: string }) => this.#work("Learning", async () => {
    this.photos.set(photo.sha256, photo);
    await this.#became(this.#backend.correct(photo, correction));
    this.#store.set({ looked: null });
    this.#say("label" in correction ? `Learned: that is ${shown(correction.label)}.` : `Learned: that is not ${correction.never}.`);
    await this.#classifyAgain();
  });

  undo = () => this.#work("Undoing", async () => {
    const edit = this.#store.view.state?.lastEdit ?? "";
    await this.#became(this.#backend.undo());
    this.#say(`Undone: ${edit}.`);
    await this.#classifyAgain();
  });

  check = () => this.#work("Checking the photos", async () => {
    const findings = await this.#backend.check();
    this.#store.set({ findings });
    this.#store.focus("findings");
    this.#say(findings.length === 0 ? "Nothing to complain of." : `Found ${plural(findings.length, "thing")} to look at.`);
  });

  save = () => this.#work("Saving", async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await this.#backend.save());
    link.download = "mine.edge";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    this.#store.set({ isUnsaved: false });
    this.#say("Saved as mine.edge, which the command line and other devices read.");
  });

  load = ({ file, name }: NamedFile) => this.#work(`Loading ${name}`, async () => {
    const state = await this.#backend.load(file);
    const drafts = state.kind === "model" ? [this.#draft(), this.#draft()] : [];
    this.#store.set({ state, drafts, results: [], findings: null, live: null, isUnsaved: false });
    this.#say(`${name} is loaded.`);
  });

  /** What each photo shows, below those that were asked before. */
  async classify(files: readonly NamedFile[]): Promise<void> {
    const photos = await this.#seen(files);
    const results = photos.map((photo) => ({ key: this.#newKey(), photo, answer: null }));
    this.#store.set({ results: [...results, ...this.#store.view.results] });
    await this.#answer(results.map(({ key }) => key));
  }

  forgetResults(): void {
    this.#store.set({ results: [] });
    this.#store.focus("try");
  }

  /** What the camera sees, for those who follow it. */
  async classifyFrame(frame: ImageBitmap): Promise<void> {
    this.#store.set({ live: await this.#backend.classify(frame) });
  }

  /** Keep a picture of the camera as a photo. */
  async keep(image: Blob, name: string): Promise<SeenPhoto | null> {
    return (await this.#seen([{ file: image, name }]))[0] ?? null;
  }

  look(label: string, name: string, sha256: string): void {
    this.#store.set({ looked: { label, name, sha256 } });
  }

  unlook(): void {
    this.#store.set({ looked: null });
  }

  dismiss(): void {
    this.#store.set({ message: null });
  }

  fail(error: unknown): void {
    this.#fail(error);
  }

  async #classifyAgain(): Promise<void> {
    await this.#answer(this.#store.view.results.map(({ key }) => key));
  }

  async #answer(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const result = this.#store.view.results.find((one) => one.key === key);
      if (!result) continue;
      const answer = await this.#backend.classify(result.photo.image).catch(sentenceOf);
      const results = this.#store.view.results.map((one) => (one.key === key ? { ...one, answer } : one));
      this.#store.set({ results });
    }
  }

  async #seen(files: readonly NamedFile[]): Promise<SeenPhoto[]> {
    const photos: SeenPhoto[] = [];
    for (const { file, name } of files) {
      // One after the other: a phone has no room for forty large photos at once.
      const photo = await seen(file, name);
      photos.push(this.photos.get(photo.sha256) ?? photo);
      this.photos.set(photo.sha256, photos.at(-1) ?? photo);
    }
    return photos;
  }

  async #became(becoming: Promise<State>): Promise<void> {
    const state = await becoming;
    this.#store.set({ state, findings: null, isUnsaved: this.#backend.isLocal });
  }

  /** One piece of work at a time, with its text while it lasts; what goes wrong is said. */
  async #work(text: string, run: (onProgress: (done: number, total: number) => void) => Promise<void>): Promise<void> {
    if (this.#store.view.work) return;
    this.#store.set({ work: { text, share: 0 }, message: null });
    try {
      await run((done, total) => this.#store.set({ work: { text, share: done / total } }));
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#store.set({ work: null });
    }
  }

  /** What went well is said for a while; what went wrong stays until it is read. */
  #say(text: string): void {
    const message = { text, isError: false };
    this.#store.set({ message });
    setTimeout(() => this.#store.view.message === message && this.dismiss(), 8000);
  }

  #fail(error: unknown): void {
    this.#store.set({ message: { text: sentenceOf(error), isError: true } });
  }

  #draftOf(label: string): Draft {
    const { drafts } = this.#store.view;
    const draft = drafts.find((one) => one.label === label) ?? drafts.find((one) => !one.label && one.photos.length === 0);
    if (!draft) return this.#found(this.addDraft(label));
    this.nameDraft(draft.key, label);
    return draft;
  }

  #found(key: string): Draft {
    return this.#store.view.drafts.find((one) => one.key === key) ?? this.#draft();
  }

  #changeDraft(key: string, change: (draft: Draft) => Draft): void {
    this.#store.set({ drafts: this.#store.view.drafts.map((draft) => (draft.key === key ? change(draft) : draft)) });
  }

  #draft(label = ""): Draft {
    return { key: this.#newKey(), label, photos: [] };
  }

  #newKey(): string {
    return `k${(this.#count += 1)}`;
  }
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function shown(label: string): string {
  return label === OTHER ? "none of the classes" : label;
}
