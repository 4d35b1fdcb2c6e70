/** The whole page. */

import type { Actions } from "../actions";
import type { State } from "../backend";
import type { Capture } from "../capture";
import { h, type Child, type Description } from "../dom";
import type { View } from "../store";
import { attempt } from "./attempt";
import { curve } from "./curve";
import { findings } from "./findings";
import { bar, button, chooser } from "./parts";
import { shotDialog } from "./shot_dialog";
import { teach } from "./teach";

/** What the views call. */
export interface Parts {
  readonly actions: Actions;
  readonly capture: Capture;
  readonly video: HTMLVideoElement;
  /** Whether photos stay on this device. */
  readonly isLocal: boolean;
  readonly useToken: (token: string) => void;
}

export function page(view: View, parts: Parts): Child[] {
  const { state } = view;
  return [
    header(view, parts),
    view.wantsToken && tokenForm(parts),
    state !== null &&
      h("main", { class: state.kind }, h("div", { key: "viewport", class: `viewport ${view.camera}` }, parts.video), ...areas(view, state, parts)),
    state !== null && shotDialog(view, state, parts),
    status(view, parts),
  ];
}

/** What comes next stands first: teaching, and then trying what was taught. */
function areas(view: View, state: State, parts: Parts): Child[] {
  const trying = h(
    "div",
    { key: "trying", class: "trying" },
    attempt(view, state, parts),
    state.kind === "classifier" && curve(state),
    state.kind === "classifier" && findings(view, state, parts),
  );
  if (state.kind === "regressor") return [trying];
  const teaching = teach(view, state, parts);
  return state.kind === "model" ? [teaching, trying] : [trying, teaching];
}

/** What lets one in to a service. */
function tokenForm({ useToken }: Parts): Description {
  const onsubmit = (event: SubmitEvent) => {
    event.preventDefault();
    useToken((document.getElementById("token") as HTMLInputElement).value);
  };
  return h(
    "main",
    { key: "token" },
    h(
      "form",
      { class: "card", onsubmit },
      h("label", { for: "token" }, "The token of this service"),
      h(
        "div",
        { class: "row" },
        h("input", { id: "token", type: "password", class: "class-name", autocomplete: "current-password", required: true }),
        h("button", { class: "button primary" }, "Go on"),
      ),
    ),
  );
}

function header(view: View, { actions, isLocal }: Parts): Description {
  const { state } = view;
  const isLearned = state !== null && state.kind !== "model";
  const isBusy = view.work !== null;
  const where = isLocal ? "No photo leaves this device." : `Photos go to ${location.host}, and nowhere else.`;
  return h(
    "header",
    {},
    h("img", { src: "icons/icon.svg", alt: "", width: 40, height: 40 }),
    h(
      "div",
      { class: "product" },
      h("h1", {}, "edge-adapt"),
      h("p", { class: "hint" }, state ? `Model ${state.model}. ${where}` : where),
    ),
    h(
      "div",
      { class: "row tools", role: "group", "aria-label": "The classifier" },
      state?.kind === "classifier" &&
        button("Undo", () => void actions.undo(), "", { disabled: isBusy || state.lastEdit === null, title: state.lastEdit ?? "" }),
      isLocal &&
        chooser("Open", (files) => files[0] && void actions.load(files[0]), { accept: ".edge", "aria-label": "Open an .edge file" }),
      isLearned && button("Save", () => void actions.save(), view.isUnsaved ? "primary" : "", { disabled: isBusy }),
    ),
  );
}

/** What is being done, and what came of it: said to all, read aloud to some. */
function status({ work, message }: View, { actions }: Parts): Description {
  return h(
    "div",
    { class: "status" },
    h(
      "div",
      { role: "status", class: "work" },
      work !== null && h("p", {}, `${work.text}…`),
      work !== null && bar(work.share),
      work === null && message !== null && !message.isError && h("p", {}, message.text),
    ),
    h("div", { role: "alert" }, message?.isError === true && h("p", { class: "fault" }, message.text)),
    work === null && message !== null && button("Close", () => actions.dismiss(), "quiet", { "aria-label": "Close the message" }),
  );
}
