/** Reads aloud what the camera shows, when it is something else for a while: not fifteen times a second. */

import type { Answer } from "./backend";
import { spoken } from "./views/attempt";

const STEADY = 1000; // milliseconds

export function announcer(region: HTMLElement): (live: Answer | null) => void {
  let seen = "";
  let timer = 0;
  return (live) => {
    const name = live === null ? "" : live.kind === "class" ? (live.known ? live.label : "unknown") : spoken(live);
    if (name === seen) return;
    seen = name;
    clearTimeout(timer);
    timer = window.setTimeout(() => (region.textContent = live === null ? "" : spoken(live)), STEADY);
  };
}
