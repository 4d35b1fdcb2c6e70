/** One photo of a class, larger: to take away, or to give to the class that it shows. */

import { OTHER, type State } from "../backend";
import { h, type Description } from "../dom";
import type { View } from "../store";
import { className } from "../words";
import type { Parts } from "./page";
import { button } from "./parts";

export function shotDialog(view: View, state: State, { actions }: Parts): Description | null {
  if (!view.looked) return null;
  const { label, name, sha256 } = view.looked;
  const photo = actions.photos.get(sha256);
  const others = [...state.classes.map((one) => one.label).filter((one) => one !== OTHER), OTHER].filter((one) => one !== label);
  const onchange = (event: Event) => photo && void actions.correct(photo, { label: (event.target as HTMLSelectElement).value });
  return h(
    "dialog",
    {
      "aria-label": name,
      created: (element: Element) => queueMicrotask(() => (element as HTMLDialogElement).showModal()),
      onclose: () => actions.unlook(),
      onclick: (event: Event) => event.target === event.currentTarget && actions.unlook(),
    },
    h(
      "div",
      { class: "looked" },
      photo?.thumbnail ? h("img", { src: photo.thumbnail, alt: "", width: 240, height: 240 }) : null,
      h("p", {}, h("strong", {}, name), ` is a photo of ${className(label)}.`),
      photo
        ? h(
            "label",
            { class: "row" },
            "It shows ",
            h("select", { onchange }, h("option", { value: "" }, className(label)), ...others.map((one) => h("option", { value: one, key: one }, className(one)))),
          )
        : h("p", { class: "hint" }, "The file keeps no photo, only what was learned from it."),
      h(
        "div",
        { class: "row" },
        button("Remove the photo", () => void actions.removeShot(label, sha256)),
        button("Close", () => actions.unlook(), "quiet"),
      ),
    ),
  );
}
