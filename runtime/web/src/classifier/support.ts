/** The support set of a classifier: immutable, and always in one order. An edit is a function from one to the next. */

import { type Adaptation, NO_LABEL, type Shot } from "../bundle/classifier_json.js";
import type { SupportImage } from "../bundle/history_json.js";
import { rowsOf } from "../bundle/npy.js";
import { isLine } from "../bundle/strict_json.js";
import { DataError } from "../errors.js";
import type { EmbeddedImage } from "../graphs.js";
import { compareTexts, quoted } from "../words.js";

/** In place of a class, for photos of no class: nothing is adapted to them, and what looks like them is the sooner unknown. */
export const OTHER = "_other";

/** Of an image of which nothing is to be said. */
export const NO_SHA256 = "0".repeat(64);

/**
 * What a classifier learns from: the features of the shots of each class, and of photos of no class.
 *
 * Classes are in the order of their names, and the shots of a class in that of SHA-256 and name, whatever order they came in.
 * So equal shots give the same classifier, however the support set came about.
 */
export class SupportSet {
  /** The names of the N classes. */
  readonly labels: readonly string[];
  /** Of all images: the index of the class (`NO_LABEL` for none), the name and the SHA-256. */
  readonly shots: readonly Shot[];
  /** The index of the class of each of the M shots. */
  readonly targets: readonly number[];

  /** @param images all of them, in that order; those of no class are the last. */
  private constructor(readonly images: readonly SupportImage[]) {
    this.labels = [...new Set(images.map((image) => image.label).filter((label) => label !== OTHER))];
    const index = new Map(this.labels.map((label, number) => [label, number]));
    this.shots = images.map(({ label, name, sha256 }) => ({ label: index.get(label) ?? NO_LABEL, name, sha256 }));
    this.targets = this.shots.map((shot) => shot.label).filter((label) => label !== NO_LABEL);
  }

  /** The support set of these images, in any order. */
  static of(images: readonly SupportImage[]): SupportSet {
    return new SupportSet(
      [...images].sort(
        (one, other) =>
          Number(one.label === OTHER) - Number(other.label === OTHER) ||
          compareTexts(one.label, other.label) ||
          compareTexts(one.sha256, other.sha256) ||
          compareTexts(one.name, other.name),
      ),
    );
  }

  /** The support set of embedded images by class. */
  static ofClasses(images: Readonly<Record<string, readonly EmbeddedImage[]>>): SupportSet {
    return SupportSet.of(Object.entries(images).flatMap(([label, found]) => found.map((image) => ofClass(label, image))));
  }

  /** The support set that a bundle holds. */
  static read(adaptation: Adaptation): SupportSet {
    const { labels, shots, supportFeatures } = adaptation;
    const rows = rowsOf(supportFeatures.data as Float32Array, supportFeatures.shape[1]!);
    return SupportSet.of(
      shots.map(({ label, name, sha256 }, index) => {
        return { label: labels[label] ?? OTHER, name, sha256, features: rows[index]!, values: [] };
      }),
    );
  }

  /** How many shots there are, those of no class not counted. */
  get length(): number {
    return this.targets.length;
  }

  /** Of the M shots, M of float32 [D]. */
  get features(): Float32Array[] {
    return this.images.slice(0, this.length).map((image) => image.features);
  }

  /** Of the Q photos of no class, Q of float32 [D]. */
  get others(): Float32Array[] {
    return this.images.slice(this.length).map((image) => image.features);
  }

  /** How many images each class has, and `OTHER` where there are photos of none. */
  get counts(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { label } of this.images) counts.set(label, (counts.get(label) ?? 0) + 1);
    return counts;
  }

  /** With these images of a class, old or new; one that the class has already is not taken twice. */
  add(label: string, images: readonly EmbeddedImage[]): SupportSet {
    const known = new Set(this.images.filter((image) => image.label === label).map((image) => image.sha256));
    const fresh = new Map<string, SupportImage>();
    for (const image of images) {
      if (!known.has(image.sha256)) fresh.set(image.sha256, ofClass(label, image));
    }
    if (fresh.size === 0) throw new DataError(`${quoted(label)} has all of these images already; add others.`);
    return SupportSet.of([...this.images, ...fresh.values()]);
  }

  /** Without a class, or without those of its images that are named so, or whose SHA-256 begins so. */
  remove(label: string, names: readonly string[]): SupportSet {
    const ofLabel = this.#of(label);
    const gone = new Set(names.length === 0 ? ofLabel : []);
    for (const name of names) {
      const found = ofLabel.filter((image) => name === image.name || (name !== "" && image.sha256.startsWith(name)));
      if (found.length === 0) {
        const shown = ofLabel.slice(0, 5).map((image) => image.name || image.sha256.slice(0, 8));
        const more = ofLabel.length > 5 ? ", ..." : "";
        throw new DataError(`${quoted(label)} has no image ${quoted(name)}; it has ${shown.join(", ")}${more}.`);
      }
      for (const image of found) gone.add(image);
    }
    return new SupportSet(this.images.filter((image) => !gone.has(image)));
  }

  /** With another name for a class. */
  rename(label: string, name: string): SupportSet {
    this.#of(label);
    if (this.counts.has(name)) {
      throw new DataError(`there is a class ${quoted(name)} already; merge the two, or choose another name.`);
    }
    return this.merge([label], name);
  }

  /** With the images of all these classes in one. */
  merge(labels: readonly string[], into: string): SupportSet {
    for (const label of labels) this.#of(label);
    return SupportSet.of(this.images.map((image) => (labels.includes(image.label) ? { ...image, label: into } : image)));
  }

  /** With an image as one of a class (`OTHER`: of none), and of no other. */
  correct(image: EmbeddedImage, label: string): SupportSet {
    if (this.has(image, label)) throw new DataError(`${image.name} is an image of ${quoted(label)} already.`);
    return SupportSet.of([...this.images.filter((known) => known.sha256 !== image.sha256), ofClass(label, image)]);
  }

  /** Whether a class has this image. */
  has(image: EmbeddedImage, label: string): boolean {
    return this.images.some((known) => known.sha256 === image.sha256 && known.label === label);
  }

  #of(label: string): SupportImage[] {
    const found = this.images.filter((image) => image.label === label);
    if (found.length === 0) {
      throw new DataError(`there is no class ${quoted(label)}; there are ${[...this.counts.keys()].join(", ")}.`);
    }
    return found;
  }
}

function ofClass(label: string, { name, sha256, features }: EmbeddedImage): SupportImage {
  return { label, name: oneLine(name), sha256, features, values: [] };
}

/** A text as a bundle can hold it: a file system allows line breaks in a name, a bundle does not. */
export function oneLine(name: string): string {
  return Array.from(name, (character) => (isLine(character) ? character : "?")).join("");
}
