/** What edge-adapt throws. Each message is one sentence that names the file, the fault and, where there is one, the remedy. */

import { sentence } from "./words.js";

/** Anything that a user can cause or repair. */
export class EdgeAdaptError extends Error {
  constructor(message: string, cause?: unknown) {
    super(sentence(message), cause === undefined ? undefined : { cause });
    this.name = new.target.name;
  }
}

/** An image that cannot be read. */
export class ImageError extends EdgeAdaptError {}

/** A support set that cannot be used. */
export class DataError extends EdgeAdaptError {}

/** An `.edge` file that is damaged, of another version, hostile, or of the wrong kind. */
export class BundleError extends EdgeAdaptError {}
