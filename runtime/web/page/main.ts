/** Puts the page together. */

import { Actions } from "./actions";
import { announcer } from "./announcer";
import { Camera } from "./camera";
import { Capture } from "./capture";
import { patch } from "./dom";
import { LocalBackend } from "./local_backend";
import { Store } from "./store";
import { page } from "./views/page";

const root = document.getElementById("page") as HTMLElement;
const announce = announcer(document.getElementById("announcer") as HTMLElement);
const backend = new LocalBackend(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
const camera = new Camera();
const store = new Store((view) => {
  patch(root, page(view, { actions, capture, video: camera.video }));
  announce(view.live);
});
const actions = new Actions(backend, store);
const capture = new Capture(camera, actions, store);

addEventListener("beforeunload", (event) => {
  if (store.view.isUnsaved) event.preventDefault();
});
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

store.set({});
void actions.open();
void navigator.serviceWorker?.register("sw.js", { updateViaCache: "none" });
