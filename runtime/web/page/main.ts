/** Puts the page together. */

import { Actions } from "./actions";
import { announcer } from "./announcer";
import { Camera } from "./camera";
import { Capture } from "./capture";
import { patch } from "./dom";
import { LocalBackend } from "./local_backend";
import { ServiceBackend } from "./service_backend";
import { Store } from "./store";
import { page } from "./views/page";

const root = document.getElementById("page") as HTMLElement;
const announce = announcer(document.getElementById("announcer") as HTMLElement);
// A service says in the page that it gives that it is one.
const service = document.documentElement.dataset["backend"] === "service" ? new ServiceBackend() : null;
const backend = service ?? new LocalBackend(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
const camera = new Camera();
const store = new Store((view) => {
  patch(root, page(view, { actions, capture, video: camera.video, isLocal: backend.isLocal, useToken }));
  announce(view.live);
});
const actions = new Actions(backend, store);
const capture = new Capture(camera, actions, store);

function useToken(token: string): void {
  service?.useToken(token);
  void actions.open();
}

addEventListener("beforeunload", (event) => {
  if (store.view.isUnsaved) event.preventDefault();
});
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

store.set({});
void actions.open();
if (!service) void navigator.serviceWorker?.register("sw.js", { updateViaCache: "none" });
