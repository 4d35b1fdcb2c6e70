/** What will cost accuracy, the worst first. */

import type { Finding, State } from "../backend";
import { h, type Description } from "../dom";
import type { View } from "../store";
import type { Parts } from "./page";
import { button, picture } from "./parts";

export function findings(view: View, state: State, { actions }: Parts): Description {
  const found = view.findings;
  return h(
    "section",
    { class: "check", "aria-labelledby": "findings" },
    h("h2", { id: "findings", tabindex: "-1" }, "Check"),
    h("p", { class: "hint" }, "Finds photos that look mislabelled, near duplicates, and classes that will be confused."),
    h("div", { class: "row" }, button("Check the photos", () => void actions.check(), "", { disabled: Boolean(view.work) })),
    found !== null &&
      (found.length === 0
        ? h("p", { key: "sound" }, "Nothing to complain of.")
        : h("ul", { key: "found", class: "findings" }, ...found.map((finding) => shown(finding, state, actions)))),
  );
}

function shown({ kind, text, classes, images }: Finding, state: State, actions: Parts["actions"]): Description {
  // Of a suspect the second class is the one that it looks like, where a photo may have the same name.
  const own = kind === "mislabelled" ? classes.slice(0, 1) : classes;
  const shots = state.classes
    .filter(({ label }) => own.includes(label))
    .flatMap(({ label, shots }) => shots.filter(({ name }) => images.includes(name)).map((shot) => ({ label, ...shot })));
  return h(
    "li",
    { key: kind + text, class: "card" },
    h("p", {}, h("strong", {}, kind), ` ${text}.`),
    h(
      "ul",
      { class: "photos", "aria-label": "The photos it is about" },
      ...shots.map(({ label, name, sha256 }) =>
        h(
          "li",
          { key: sha256 + label },
          h("button", { type: "button", "aria-label": `${name}, a photo of ${label}`, title: name, onclick: () => actions.look(label, name, sha256) },
            picture(actions.photos.get(sha256)?.thumbnail, name)),
        ),
      ),
    ),
  );
}
