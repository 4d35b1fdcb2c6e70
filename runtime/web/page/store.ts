/** All that the page shows, in one value that is replaced as a whole. */

import type { Answer, Finding, State } from "./backend";

/** A photo that this page has seen, by its SHA-256. */
export interface SeenPhoto {
  readonly sha256: string;
  readonly name: string;
  readonly image: Blob;
  /** The address of a small picture of it. */
  readonly thumbnail: string;
}

/** A class that is not taught yet. */
export interface Draft {
  readonly key: string;
  readonly label: string;
  readonly photos: readonly SeenPhoto[];
}

/** A photo that was classified, and what came out. */
export interface Result {
  readonly key: string;
  readonly photo: SeenPhoto;
  /** None while it is classified; a text where it could not be. */
  readonly answer: Answer | string | null;
}

export interface Message {
  readonly text: string;
  readonly isError: boolean;
}

export interface View {
  /** None until the model is there. */
  readonly state: State | null;
  readonly drafts: readonly Draft[];
  /** What is being done, if something is, and how far it has come, from 0 to 1. */
  readonly work: { readonly text: string; readonly share: number } | null;
  readonly message: Message | null;
  readonly camera: "off" | "starting" | "on";
  /** Of the camera's picture, some times a second. */
  readonly live: Answer | null;
  readonly results: readonly Result[];
  readonly findings: readonly Finding[] | null;
  /** The shot that is looked at. */
  readonly looked: { readonly label: string; readonly name: string; readonly sha256: string } | null;
  readonly isUnsaved: boolean;
  /** The service wants a token first. */
  readonly wantsToken: boolean;
}

export class Store {
  view: View = {
    state: null,
    drafts: [],
    work: null,
    message: null,
    camera: "off",
    live: null,
    results: [],
    findings: null,
    looked: null,
    isUnsaved: false,
    wantsToken: false,
  };
  #focus = "";
  #isDue = false;
  readonly #render: (view: View) => void;

  constructor(render: (view: View) => void) {
    this.#render = render;
  }

  set(change: Partial<View>): void {
    this.view = { ...this.view, ...change };
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#render(this.view);
      if (this.#focus) document.getElementById(this.#focus)?.focus();
      this.#focus = "";
    });
  }

  /** Where the keyboard goes on after what had the focus is gone, or something new asks for it. */
  focus(id: string): void {
    this.#focus = id;
  }
}
