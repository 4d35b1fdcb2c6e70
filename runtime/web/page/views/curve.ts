/** The support loss falling, step by step, and what accuracy to expect. */

import type { State } from "../backend";
import { h, type Description } from "../dom";
import { expectation, loss } from "../words";

const [WIDTH, HEIGHT, MARGIN] = [320, 96, 6];

export function curve({ losses, estimate }: State): Description {
  const [first, last] = [losses[0], losses.at(-1)];
  const said =
    first === undefined || last === undefined
      ? "This model learns without steps."
      : `Loss ${loss(first)} before the first step, ${loss(last)} before the last of ${losses.length}.`;
  return h(
    "div",
    { class: "card learned", id: "learned", tabindex: "-1", role: "group", "aria-label": "What was learned" },
    // Another key draws the line anew.
    losses.length > 1 && h("div", { key: losses.join(" "), class: "curve" }, drawn(losses, said)),
    h("p", {}, said),
    h("p", { class: "expectation" }, expectation(estimate)),
  );
}

function drawn(losses: readonly number[], said: string): Description {
  const highest = Math.max(...losses, Number.MIN_VALUE);
  const x = (step: number) => MARGIN + (step / (losses.length - 1)) * (WIDTH - 2 * MARGIN);
  const y = (value: number) => HEIGHT - MARGIN - (value / highest) * (HEIGHT - 2 * MARGIN);
  const points = losses.map((value, step) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  return h(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said, preserveAspectRatio: "none" },
    h("line", { class: "axis", x1: MARGIN, x2: WIDTH - MARGIN, y1: HEIGHT - MARGIN, y2: HEIGHT - MARGIN }),
    h("polyline", { class: "line", points, pathLength: "1" }),
  );
}
