/** The classes: their names, their photos, and what is still to do before they can be learned. */

import { OTHER, type State, type TaughtClass } from "../backend";
import { h, type Child, type Description } from "../dom";
import type { GivenFile, NamedFile } from "../photos";
import type { Draft, SeenPhoto, View } from "../store";
import { className, plural, stillToDo } from "../words";
import type { Parts } from "./page";
import { button, chooser, picture, takesDrops } from "./parts";

const MOST_SHOWN = 60; // photos of a class; a page of thousands would be slow

export function teach(view: View, state: State, parts: Parts): Description {
  const { actions } = parts;
  const missing = stillToDo(state, view.drafts);
  const labels = [...state.classes, ...view.drafts].map((one) => one.label);
  return h(
    "section",
    { key: "teaching", class: "teach", "aria-labelledby": "teach", ...takesDrops(actions, (given) => receive(given, parts)) },
    h("h2", { id: "teach", tabindex: "-1" }, "Teach"),
    state.kind === "model" &&
      h("p", { class: "hint" }, "Name two classes or more and give each a few photos. Drop a folder with a sub-folder a class to have it all at once."),
    h(
      "div",
      { class: "classes" },
      ...state.classes.map((taught) => taughtCard(taught, view, parts)),
      ...view.drafts.map((draft) => draftCard(draft, view, parts)),
    ),
    h(
      "div",
      { class: "row" },
      button("Add a class", () => void actions.addDraft()),
      !labels.includes(OTHER) && button("Add photos of none", () => void actions.addDraft(OTHER)),
      chooser("Choose a folder", (given) => void actions.addFolders(given), { webkitdirectory: true, multiple: true }),
    ),
    h(
      "div",
      { class: "learn" },
      (state.kind === "model" || view.drafts.length > 0) &&
        button("Learn", () => void actions.learn(), "primary", {
          id: "learn",
          disabled: Boolean(missing || view.work),
          "aria-describedby": "missing",
        }),
      h("span", { id: "missing", class: "hint" }, state.kind === "model" || view.drafts.length > 0 ? missing : ""),
    ),
  );
}

/** Folders are classes. */
function receive(given: readonly GivenFile[], { actions }: Parts): void {
  if (given.some(({ folder }) => folder)) void actions.addFolders(given.filter(({ folder }) => folder));
  else actions.fail(new Error("Drop photos on the class that they show, or a folder with a sub-folder for each class."));
}

function taughtCard({ label, shots }: TaughtClass, view: View, parts: Parts): Description {
  const { actions } = parts;
  const key = actions.keyOf(label);
  const take = (files: readonly NamedFile[]) => void actions.addToClass(label, files);
  const photos = shots.slice(0, MOST_SHOWN).map(({ name, sha256 }) => {
    const look = () => actions.look(label, name, sha256);
    const named = `${name}, a photo of ${className(label)}`;
    const shown = picture(actions.photos.get(sha256)?.thumbnail, name);
    return h("li", { key: sha256 + name }, h("button", { type: "button", onclick: look, "aria-label": named, title: name }, shown));
  });
  const rename = async (event: Event) => {
    const input = event.target as HTMLInputElement;
    const name = input.value.trim();
    if (name && name !== label) await actions.rename(label, name);
    if (!view.state?.classes.some((one) => one.label === name)) input.value = label;
  };
  return card(key, label, shots.length, view, parts, {
    onName: (event) => void rename(event),
    onFiles: take,
    onTaken: null,
    onRemove: () => void actions.removeClass(label),
    photos,
  });
}

function draftCard({ key, label, photos }: Draft, view: View, parts: Parts): Description {
  const { actions } = parts;
  const shown = photos.slice(0, MOST_SHOWN).map(({ sha256, name, thumbnail }) => {
    const drop = () => actions.dropDraftPhoto(key, sha256);
    const action = `Take ${name} away`;
    return h("li", { key: sha256 }, h("button", { type: "button", class: "away", onclick: drop, "aria-label": action, title: action }, picture(thumbnail, name)));
  });
  return card(key, label, photos.length, view, parts, {
    onName: (event) => actions.nameDraft(key, (event.target as HTMLInputElement).value),
    onFiles: (files) => void actions.addToDraft(key, files),
    onTaken: (photo) => void actions.addToDraft(key, [{ file: photo.image, name: photo.name }]),
    onRemove: () => actions.dropDraft(key),
    photos: shown,
  });
}

interface CardParts {
  readonly onName: (event: Event) => void;
  readonly onFiles: (files: readonly NamedFile[]) => void;
  /** With each photo while the button is held; none where all of them are taken at its end. */
  readonly onTaken: ((photo: SeenPhoto) => void) | null;
  readonly onRemove: () => void;
  readonly photos: readonly Child[];
}

function card(key: string, label: string, count: number, view: View, parts: Parts, made: CardParts): Description {
  const name = label ? className(label) : "the new class";
  const more = count - made.photos.length;
  return h(
    "article",
    { key, class: "card", "aria-label": name, ...takesDrops(parts.actions, made.onFiles) },
    h(
      "div",
      { class: "title" },
      label === OTHER
        ? h("strong", {}, className(OTHER))
        : h("input", {
            id: `name-${key}`,
            class: "class-name",
            value: label,
            onchange: made.onName,
            placeholder: "Name of the class",
            "aria-label": label ? `Name of the class ${label}` : "Name of the new class",
            autocomplete: "off",
            spellcheck: "false",
            maxlength: "200",
          }),
      h("span", { class: "count" }, count > 0 ? plural(count, "photo") : ""),
      button("Remove", made.onRemove, "quiet", { "aria-label": `Remove ${name}` }),
    ),
    label === OTHER && h("p", { class: "hint" }, "Photos that show no class: what looks like them is the sooner unknown."),
    h("ul", { class: "photos", "aria-label": `Photos of ${name}` }, ...made.photos, more > 0 && h("li", { class: "count" }, `and ${more} more`)),
    h(
      "div",
      { class: "row" },
      chooser("Choose photos", made.onFiles, { id: `choose-${key}`, accept: "image/*", multiple: true, "aria-label": `Choose photos of ${name}` }),
      takeButton(name, view, parts, made),
    ),
  );
}

/** Turns the camera on, and then takes photos while it is held. */
function takeButton(name: string, view: View, { capture }: Parts, made: CardParts): Description {
  if (view.camera !== "on") {
    return button("Camera", () => void capture.start(), "", { "aria-label": `Take photos of ${name} with the camera` });
  }
  const hold = async () => {
    const taken: SeenPhoto[] = [];
    await capture.hold(made.onTaken ?? ((photo) => taken.push(photo)));
    if (taken.length > 0) made.onFiles(taken.map((photo) => ({ file: photo.image, name: photo.name })));
  };
  const isPress = (event: KeyboardEvent) => event.key === " " || event.key === "Enter";
  return h(
    "button",
    {
      type: "button",
      class: "button accent hold",
      "aria-label": `Hold to take photos of ${name}`,
      onpointerdown: (event: PointerEvent) => {
        // The button moves as photos come in, and stays held all the same.
        (event.currentTarget as Element).setPointerCapture(event.pointerId);
        void hold();
      },
      onlostpointercapture: () => capture.release(),
      onkeydown: (event: KeyboardEvent) => isPress(event) && !event.repeat && void hold(),
      onkeyup: (event: KeyboardEvent) => isPress(event) && capture.release(),
      // Assistive technology presses without pointer or key: one photo.
      onclick: (event: PointerEvent) => event.detail === 0 && !event.pointerType && (void hold(), capture.release()),
      oncontextmenu: (event: Event) => event.preventDefault(),
    },
    "Hold to take",
  );
}
