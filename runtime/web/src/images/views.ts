/** How a support image is looked at: more than once, where that says more about its class than one look does. */

import { type Raster, resize } from "./resize.js";

export const MOST_VIEWS = 15;
export const LEAST_PART = 0.1;

/** A look at an image beside the one that takes it as it is. */
export interface View {
  /** Of height and width that is seen, around the centre, 0.1 to 1. */
  readonly part: number;
  /** Left and right swapped. */
  readonly mirrored: boolean;
}

/** What a view shows of a model's image, at the same size: the part, enlarged, and then mirrored. */
export function look(image: Raster, view: View): Raster {
  const { width, height } = image;
  if (view.part < 1) {
    const [across, down] = [(width * (1 - view.part)) / 2, (height * (1 - view.part)) / 2];
    image = resize(image, width, height, [across, down, width - across, height - down]);
  }
  return view.mirrored ? mirrored(image) : image;
}

function mirrored(image: Raster): Raster {
  const { width, height, channels } = image;
  const data = new Uint8Array(image.data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [to, from] = [(row * width + column) * channels, (row * width + width - 1 - column) * channels];
      for (let channel = 0; channel < channels; channel++) data[to + channel] = image.data[from + channel]!;
    }
  }
  return { ...image, data };
}

/** The features of an image as a shot, float32 [D]: the mean over the image as it is and all views of it. */
export async function shotFeatures(
  embed: (image: Raster) => Promise<Float32Array>,
  image: Raster,
  views: readonly View[],
): Promise<Float32Array> {
  const total = Float32Array.from(await embed(image));
  for (const view of views) {
    const seen = await embed(look(image, view));
    for (let at = 0; at < total.length; at++) total[at]! += seen[at]!;
  }
  return total.map((sum) => sum / (views.length + 1));
}
