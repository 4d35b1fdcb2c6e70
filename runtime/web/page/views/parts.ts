/** What several parts of the page are made of. */

import type { Actions } from "../actions";
import { h, type Child, type Description } from "../dom";
import { chosen, dropped, hasFiles, type GivenFile } from "../photos";

/** A button; `look` is a class of the style sheet. */
export function button(label: string, onclick: () => void, look = "", more: Record<string, string | boolean> = {}): Description {
  return h("button", { type: "button", class: `button ${look}`, onclick, ...more }, label);
}

/** A button that opens the system's chooser of files. */
export function chooser(
  label: string,
  onFiles: (files: GivenFile[]) => void,
  more: Record<string, string | boolean> = {},
  look = "",
): Description {
  const onchange = (event: Event) => onFiles(chosen(event.target as HTMLInputElement));
  return h("label", { class: `button chooser ${look}` }, h("input", { type: "file", class: "hidden", onchange, ...more }), label);
}

/** The properties of what files can be dropped on; a bundle is opened wherever it is dropped. */
export function takesDrops(actions: Actions, onFiles: (files: GivenFile[]) => void): Record<string, (event: DragEvent) => void> {
  const mark = (event: DragEvent, is: boolean) => (event.currentTarget as Element).classList.toggle("dragged", is);
  return {
    ondragover: (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.stopPropagation();
      mark(event, true);
    },
    ondragleave: (event) => mark(event, false),
    ondrop: (event) => {
      if (!event.dataTransfer) return;
      event.preventDefault();
      event.stopPropagation();
      mark(event, false);
      void dropped(event.dataTransfer).then((files) => {
        const bundle = files.find(({ name }) => name.endsWith(".edge"));
        if (bundle) void actions.load(bundle);
        else onFiles(files);
      });
    },
  };
}

/** A bar of a share from 0 to 1; what it shows is said beside it. */
export function bar(share: number, look = ""): Description {
  return h("span", { class: `bar ${look}`, "aria-hidden": "true" }, h("span", { style: `inline-size: ${(100 * share).toFixed(1)}%` }));
}

/** A small picture of a photo, or its name where the page has not seen it. */
export function picture(thumbnail: string | undefined, name: string): Child {
  return thumbnail ? h("img", { src: thumbnail, alt: "", width: 80, height: 80 }) : h("span", { class: "name" }, name);
}
