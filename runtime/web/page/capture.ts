/** Holding a button takes photos, by pointer, key or assistive technology alike; while the camera runs, frames are classified. */

import type { Actions } from "./actions";
import type { Camera } from "./camera";
import type { SeenPhoto, Store } from "./store";

const BETWEEN_PHOTOS = 200; // milliseconds: fewer photos differ more
const WAIT = 50; // milliseconds until a camera without a picture is asked again

export class Capture {
  readonly #camera: Camera;
  readonly #actions: Actions;
  readonly #store: Store;
  #isHeld = false;

  constructor(camera: Camera, actions: Actions, store: Store) {
    this.#camera = camera;
    this.#actions = actions;
    this.#store = store;
    // A phone gives a camera to one page at a time.
    document.addEventListener("visibilitychange", () => document.hidden && this.stop());
  }

  async start(): Promise<void> {
    await this.#open(() => this.#camera.start());
  }

  async turn(): Promise<void> {
    await this.#open(() => this.#camera.turn());
  }

  stop(): void {
    this.#camera.stop();
    this.#store.set({ camera: "off", live: null });
  }

  /** Take photos until `release`, one at least. */
  async hold(onTaken: (photo: SeenPhoto) => void): Promise<void> {
    if (this.#isHeld) return;
    this.#isHeld = true;
    do {
      const photo = await this.take();
      if (photo) onTaken(photo);
      await pause(BETWEEN_PHOTOS);
    } while (this.#isHeld && this.#store.view.camera === "on");
    this.#isHeld = false;
  }

  release(): void {
    this.#isHeld = false;
  }

  /** What the camera shows now, as a photo. */
  async take(): Promise<SeenPhoto | null> {
    const photo = await this.#camera.photo();
    return photo && this.#actions.keep(photo.image, photo.name);
  }

  async #open(open: () => Promise<void>): Promise<void> {
    this.#store.set({ camera: "starting", message: null });
    try {
      await open();
      this.#store.set({ camera: "on" });
      void this.#follow();
    } catch (error) {
      this.stop();
      this.#actions.fail(error);
    }
  }

  /** Classify frame after frame: the next is taken when the last is answered, so that none waits. */
  async #follow(): Promise<void> {
    const stream = this.#camera.video.srcObject;
    while (this.#store.view.camera === "on" && this.#camera.video.srcObject === stream) {
      const frame = this.#store.view.state?.kind === "model" || this.#store.view.work ? null : await this.#camera.frame();
      if (!frame) await pause(WAIT);
      else await this.#actions.classifyFrame(frame).catch((error: unknown) => this.#actions.fail(error));
      await new Promise(requestAnimationFrame);
    }
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
