/** A classifier that `edge-adapt serve` holds, over its HTTP interface; /openapi.json describes it. */

import type { Answer, Backend, Finding, LabelledPhoto, OnProgress, Photo, State } from "./backend";

const FRAME_QUALITY = 0.9; // of the JPEG that a frame of the camera is sent as
const TOKEN = "edge-adapt token"; // where this tab keeps it

/** As the service describes itself. */
interface ServiceState {
  readonly kind: "classifier" | "regressor";
  readonly model: string;
  readonly losses: readonly number[];
  readonly last_edit: string | null;
  readonly classes?: readonly { label: string; images: readonly { name: string; sha256: string }[] }[];
  readonly estimate?: { accuracy: number; interval: readonly [number, number]; right: number; left_out: number } | null;
  readonly errors?: Readonly<Record<string, unknown>>;
}

type ServiceAnswer =
  | { label: string; confidence: number; known: boolean; scores: Record<string, number> }
  | { values: Record<string, number>; intervals: Record<string, readonly [number, number]> };

/** The service wants a token that it was not given. */
export class TokenError extends Error {}

export class ServiceBackend implements Backend {
  readonly isLocal = false;
  #etag = "";

  state = () => this.#state(this.#ask("classifier"));
  adapt = (photos: readonly LabelledPhoto[], onProgress: OnProgress) => {
    const form = new FormData();
    for (const { label, image, name } of photos) form.append(label, image, name);
    onProgress(0, photos.length);
    return this.#edit("adapt", { body: form });
  };
  async add(photos: readonly LabelledPhoto[], onProgress: OnProgress): Promise<State> {
    for (const [index, label] of [...new Set(photos.map((photo) => photo.label))].entries()) {
      const form = new FormData();
      const some = photos.filter((photo) => photo.label === label);
      for (const { image, name } of some) form.append("image", image, name);
      onProgress(index, photos.length);
      await this.#edit(`add?${new URLSearchParams({ label }).toString()}`, { body: form });
    }
    return this.state();
  }
  async classify(image: Blob | ImageBitmap): Promise<Answer> {
    const body = image instanceof Blob ? image : await encoded(image);
    const headers = { "Content-Type": "application/octet-stream" };
    return answerOf((await (await this.#ask("classify", { method: "POST", body, headers })).json()) as ServiceAnswer);
  }
  correct = ({ image }: Photo, correction: { label: string } | { never: string }) => {
    const query = new URLSearchParams("label" in correction ? { label: correction.label } : { not: correction.never });
    return this.#edit(`correct?${query.toString()}`, { body: image, headers: { "Content-Type": "application/octet-stream" } });
  };
  remove = (label: string, sha256?: string) => this.#edit("remove", json({ label, ...(sha256 ? { images: [sha256] } : {}) }));
  rename = (label: string, name: string) => this.#edit("rename", json({ label, name }));
  undo = () => this.#edit("undo", {});
  check = async () => ((await (await this.#ask("check")).json()) as { findings: readonly Finding[] }).findings;
  save = async () => (await this.#ask("classifier.edge")).blob();
  load = () => Promise.reject(new Error("The service holds one classifier; put another in its file instead."));

  /** What it was started with; this tab remembers it. */
  useToken(token: string): void {
    sessionStorage.setItem(TOKEN, token);
  }

  /** An edit of what this page has seen: where another has changed it meanwhile, the service refuses. */
  #edit(path: string, { body, headers }: RequestInit): Promise<State> {
    return this.#state(this.#ask(path, { method: "POST", body: body ?? null, headers: { ...headers, "If-Match": this.#etag } }));
  }

  async #ask(path: string, options: RequestInit = {}): Promise<Response> {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    let answer: Response;
    try {
      answer = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch {
      throw new Error("The service cannot be reached; is it running?");
    }
    if (answer.ok) return answer;
    const { error } = (await answer.json().catch(() => ({ error: `status ${answer.status}` }))) as { error: string };
    if (answer.status === 401) throw new TokenError(error);
    if (answer.status === 412) throw new Error("It was changed elsewhere meanwhile; load the page again to see how.");
    throw new Error(error);
  }

  async #state(asked: Promise<Response>): Promise<State> {
    const answer = await asked;
    this.#etag = answer.headers.get("ETag") ?? "";
    const { kind, model, losses, last_edit, classes, estimate, errors } = (await answer.json()) as ServiceState;
    return {
      kind,
      model,
      losses,
      lastEdit: last_edit,
      classes: (classes ?? []).map(({ label, images }) => ({ label, shots: images })),
      estimate: estimate
        ? { ...estimate, low: estimate.interval[0], high: estimate.interval[1], leftOut: estimate.left_out }
        : null,
      values: Object.keys(errors ?? {}),
    };
  }
}

function json(value: unknown): RequestInit {
  return { body: JSON.stringify(value), headers: { "Content-Type": "application/json" } };
}

function answerOf(answer: ServiceAnswer): Answer {
  if ("label" in answer) return { ...answer, kind: "class", scores: Object.entries(answer.scores) };
  const readings = Object.entries(answer.values).map(([name, value]) => {
    const [low, high] = answer.intervals[name] ?? [value, value];
    return { name, value, low, high };
  });
  return { kind: "values", readings };
}

async function encoded(frame: ImageBitmap): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = frame.width;
  canvas.height = frame.height;
  canvas.getContext("2d")?.drawImage(frame, 0, 0);
  frame.close();
  const image = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", FRAME_QUALITY));
  if (!image) throw new Error("The browser cannot encode a picture of the camera; choose photos instead.");
  return image;
}
