/** What the camera or a photo shows, as the classifier or the regressor says. */

import { OTHER, type Answer, type ClassAnswer, type State } from "../backend";
import { h, type Child, type Description } from "../dom";
import type { Result, SeenPhoto, View } from "../store";
import { className, percent, valueOf } from "../words";
import type { Parts } from "./page";
import { bar, button, chooser, picture, takesDrops } from "./parts";

const MOST_SCORES = 5;

export function attempt(view: View, state: State, parts: Parts): Description {
  const { actions, capture } = parts;
  const isReady = state.kind !== "model";
  return h(
    "section",
    { class: "try", "aria-labelledby": "try", ...takesDrops(actions, (files) => isReady && void actions.classify(files)) },
    h("h2", { id: "try", tabindex: "-1" }, state.kind === "regressor" ? "Read" : "Try"),
    h(
      "div",
      { class: "row" },
      view.camera === "off"
        ? button("Start the camera", () => void capture.start(), "", { key: "start" })
        : button("Stop the camera", () => capture.stop(), "", { key: "stop" }),
      view.camera === "on" && button("Turn it around", () => void capture.turn(), "quiet"),
      isReady && chooser("Choose photos", (files) => void actions.classify(files), { accept: "image/*", multiple: true, id: "choose-try" }),
    ),
    !isReady && h("p", { class: "hint" }, "Once something is learned, the camera and photos are classified here."),
    view.camera === "on" && view.live !== null && live(view.live, state, parts),
    isReady && view.results.length === 0 && view.camera === "off" && h("p", { class: "drop hint" }, "or drop photos here"),
    view.results.length > 0 &&
      h("ul", { class: "results", "aria-label": "Photos and what they show" }, ...view.results.map((result) => shownResult(result, state, parts))),
    view.results.length > 0 && h("div", { class: "row" }, button("Clear the list", () => actions.forgetResults(), "quiet")),
  );
}

function live(answer: Answer, state: State, parts: Parts): Description {
  const correctNow = async (correction: Correction) => {
    const photo = await parts.capture.take();
    if (photo) await parts.actions.correct(photo, correction);
  };
  return h(
    "div",
    { class: "live card" },
    said(answer),
    scores(answer),
    answer.kind === "class" && wrong(answer, state, "the camera's picture", (correction) => void correctNow(correction)),
  );
}

function shownResult({ key, photo, answer }: Result, state: State, { actions }: Parts): Description {
  const content: Child[] =
    answer === null
      ? [h("p", { class: "hint" }, "Looking…")]
      : typeof answer === "string"
        ? [h("p", { class: "fault" }, answer)]
        : [
            said(answer),
            answer.kind === "class" && wrong(answer, state, photo.name, (correction) => void actions.correct(photo as SeenPhoto, correction)),
          ];
  return h("li", { key, class: "card result" }, picture(photo.thumbnail, photo.name), h("div", {}, h("p", { class: "name" }, photo.name), ...content));
}

/** The answer in a line, with its confidence or interval. */
export function spoken(answer: Answer): string {
  if (answer.kind === "class") return answer.known ? `${answer.label}, ${percent(answer.confidence)}` : "unknown";
  return answer.readings
    .map(({ name, value, low, high }) => {
      const [is, from, to] = [value, low, high].map((number) => valueOf(number, low, high));
      return `${name} ${is}, ${from} to ${to}`;
    })
    .join("; ");
}

function said(answer: Answer): Description {
  if (answer.kind === "class") {
    return answer.known
      ? h("p", { class: "answer" }, h("strong", {}, answer.label), " ", h("span", {}, percent(answer.confidence)), bar(answer.confidence))
      : h("p", { class: "answer unknown" }, h("strong", {}, "unknown"), " ", h("span", {}, `most like ${answer.label}`));
  }
  return h(
    "dl",
    { class: "readings" },
    ...answer.readings.flatMap(({ name, value, low, high }) => [
      h("dt", {}, name),
      h("dd", {}, h("strong", {}, valueOf(value, low, high)), ` ${valueOf(low, low, high)} to ${valueOf(high, low, high)}`),
    ]),
  );
}

function scores(answer: Answer): Child {
  if (answer.kind !== "class") return null;
  const rows = answer.scores.slice(0, MOST_SCORES).map(([label, share]) =>
    h("li", { key: label }, h("span", {}, label), bar(share, "thin"), h("span", { class: "share" }, percent(share))),
  );
  return h("ul", { class: "scores", "aria-label": "Confidence by class" }, ...rows);
}

type Correction = { label: string } | { never: string };

/** What it is in truth, where the answer is wrong. */
function wrong(answer: ClassAnswer, state: State, what: string, onCorrect: (correction: Correction) => void): Description {
  const labels = state.classes.map(({ label }) => label).filter((label) => label !== OTHER);
  const onchange = (event: Event) => {
    const choice = event.target as HTMLSelectElement;
    const { value } = choice;
    choice.value = "";
    if (value === "not") onCorrect({ never: answer.label });
    else if (value === "none") onCorrect({ label: OTHER });
    else if (value.startsWith("is ")) onCorrect({ label: value.slice(3) });
  };
  return h(
    "select",
    { class: "wrong", "aria-label": `Correct what ${what} shows`, onchange },
    h("option", { value: "" }, "Wrong? It is …"),
    ...labels.map((label) => h("option", { key: label, value: `is ${label}` }, label)),
    h("option", { key: "none of all", value: "none" }, className(OTHER)),
    h("option", { key: "not this", value: "not" }, `Not ${answer.label}, but I cannot say what`),
  );
}
