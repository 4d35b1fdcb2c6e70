"""Large JPEGs decoded at reduced scale, as every command reads them, beside full decoding.

    python benchmarks/decoding.py [PHOTO.jpg]
    python benchmarks/decoding.py --model MODEL.edge --data PHOTOS [--classes FILE] [--enlarge 2100]

The first prints the times of both, from the bytes of a file to a model's pixels, on photos of 12 megapixels and 3 to 4 MB.
Without one it makes a picture whose contrast is spread over all sizes of detail as in photos. The second prints the accuracy of a
model over the same episodes, the images decoded either way. Where a data set has no large photos, --enlarge makes them: each
image is brought to this shorter side and grain is added, as a sensor would.
"""

from __future__ import annotations

import argparse
import io
import sys
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measuring import machine, ratio, table, time_in_turn
from edge_adapt.runtime.data.dataset import ImageDataset, open_classes
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import embed_dataset, evaluate_episodes
from edge_adapt.runtime.images.folders import ImageFile
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.parallel import cores, in_order
from edge_adapt.runtime.progress import Progress

WIDTH, HEIGHT = 4000, 3000
SIZES = (3_050_000, 3_500_000, 4_000_000)  # bytes; phones write 3 to 4 MB for 12 megapixels
SIDES = (84, 224)
ROUNDS = 15
EXPECTED_RATIO, EXPECTED_POINTS = 3, 0.3
PER_CLASS, EPISODES, SEED = 20, 1000, 0
COLUMNS = ((5, 1), (5, 5))
GRAIN = 4.0  # standard deviation of the noise of a pixel, of 255

Pixels = NDArray[np.uint8]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with as much contrast in every octave of detail."""
    random = np.random.default_rng(seed)
    channels = []
    for contrast in (14.0, 4.0, 4.0):  # photos differ in brightness more than in colour
        total = np.full((height, width), 128, np.float32)
        size = max(width, height)
        while size := size // 2:
            scale = size / max(width, height)
            noise = random.normal(0, contrast, (round(height * scale) + 1, round(width * scale) + 1)).astype(np.float32)
            total += np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
        channels.append(Image.fromarray(np.clip(total, 0, 255).astype(np.uint8)))
    return Image.merge("YCbCr", channels).convert("RGB")


def as_jpeg(image: Image.Image, progressive: bool = False, quality: int = 90) -> bytes:
    """The bytes of a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, progressive=progressive)
    return stream.getvalue()


def jpeg_within(image: Image.Image, least: int, most: int, progressive: bool = False) -> bytes:
    """A JPEG file of the best quality with which its size lies in these bounds."""
    for quality in range(95, 39, -1):
        data = as_jpeg(image, progressive, quality)
        if len(data) <= most:
            break
    if not least <= len(data) <= most:
        raise SystemExit(f"The picture takes {len(data):,} bytes at quality {quality}, which is no photo's size.")
    return data


def pixels(data: bytes, preprocessing: Preprocessing, reduced: bool) -> Pixels:
    """From the bytes of a file to a model's pixels."""
    size = preprocessing.decoded_size if reduced else None
    return preprocess(load_image(data, size=size).image, preprocessing)


def compare_times(name: str, data: bytes, side: int, expected: str) -> list[object]:
    """A row of the table of times."""
    preprocessing = Preprocessing(side, side, 3)
    ways = {reduced: partial(pixels, data, preprocessing, reduced) for reduced in (False, True)}
    difference = ways[True]().astype(int) - ways[False]()
    seconds = time_in_turn({"full": ways[False], "reduced": ways[True]}, ROUNDS)
    times = [f"{1000 * median(of_one):.0f} ms" for of_one in seconds.values()]
    apart = f"{(difference**2).mean() ** 0.5:.1f} of 255"
    row = [f"{name}, {len(data) / 1e6:.1f} MB", f"{side}x{side}", *times, ratio(seconds["full"], seconds["reduced"])]
    return [*row, expected, apart]


def times(photo: str | None) -> None:
    """Print the table of times."""
    if photo:
        files = [(photo, Path(photo).read_bytes())]
    else:
        image = picture(WIDTH, HEIGHT)
        files = [("baseline", jpeg_within(image, size - 400_000, size)) for size in SIZES]
        files.append(("progressive", jpeg_within(image, SIZES[1] - 400_000, SIZES[1], progressive=True)))
    print(f"From a JPEG file's bytes to a model's pixels, one thread: medians and ratios over {ROUNDS} turns.")
    print(machine("pillow", "numpy"), "\n")
    rows = [
        compare_times(name, data, side, f"at least {EXPECTED_RATIO}" if name != "progressive" and side == 84 else "")
        for name, data in files
        for side in SIDES
    ]
    print(table(["JPEG", "to", "full", "reduced", "full / reduced", "expected", "pixels differ by (RMS)"], rows))


def enlarged(data: bytes, shorter_side: int) -> bytes:
    """A large JPEG of a small image."""
    image = load_image(data).image.convert("RGB")
    scale = shorter_side / min(image.size)
    large = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    random = np.random.default_rng(list(data[-8:]))
    grain = random.normal(0, GRAIN, (256, large.width + 256)).astype(np.int16)
    values = np.asarray(large).astype(np.int16)
    for row in range(0, large.height, 256):  # a strip of grain, shifted: noise for every pixel would take seconds
        start = int(random.integers(256))
        values[row : row + 256] += grain[: large.height - row, start : start + large.width, None]
    return as_jpeg(Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)))


def read_both(preprocessing: Preprocessing, enlarge: int | None, file: ImageFile) -> tuple[Pixels, Pixels]:
    """The pixels of an image decoded in full, and at reduced scale."""
    data = file.read() if enlarge is None else enlarged(file.read(), enlarge)
    return pixels(data, preprocessing, reduced=False), pixels(data, preprocessing, reduced=True)


def accuracies(model: str, data: str, classes: list[str], enlarge: int | None) -> None:
    """Print the table of accuracies."""
    graphs = load_model(model).graphs
    folder = open_classes(data, classes)
    chosen = {label: files[:: max(1, len(files) // PER_CLASS)][:PER_CLASS] for label, files in folder.classes.items()}
    files = [file for of_label in chosen.values() for file in of_label]
    starts = np.cumsum([0, *map(len, chosen.values())], dtype=np.int64)
    both = []
    with Progress("reading", len(files), "images") as bar:
        for pair in in_order(partial(read_both, graphs.manifest.preprocessing, enlarge), files, cores()):
            both.append(pair)
            bar.advance()
    full, reduced = (ImageDataset(data, np.stack(images), tuple(chosen), starts) for images in zip(*both, strict=True))
    rows = []
    features = [embed_dataset(graphs, read, graphs.manifest.support_views) for read in (full, reduced)]
    for n_way, n_shot in COLUMNS:
        results = [
            evaluate_episodes(
                graphs,
                read,
                EvaluationProtocol(
                    n_way=n_way,
                    n_shot=n_shot,
                    n_query=15,
                    episodes=EPISODES,
                    steps=graphs.manifest.default_steps,
                    seed=SEED,
                ),
                features=embedded,
            )
            for read, embedded in zip((full, reduced), features, strict=True)
        ]
        cells = [f"{100 * result.accuracy:.2f} ± {100 * result.ci95:.2f}" for result in results]
        points = 100 * (results[1].accuracy - results[0].accuracy)
        rows.append([f"{n_way}-way {n_shot}-shot", *cells, f"{points:+.2f}", f"within {EXPECTED_POINTS}"])
    apart = (np.subtract(full.images, reduced.images, dtype=np.int16).astype(float) ** 2).mean() ** 0.5
    print(f"{model}, {len(files):,} images of {len(chosen)} classes, the same {EPISODES:,} episodes, seed {SEED}; %.")
    print(f"The pixels differ by {apart:.2f} of 255 (root mean square).\n")
    print(table(["episodes", "full", "reduced", "points", "expected"], rows))


def main() -> None:
    """Read the arguments and print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--classes", action="append", default=[])
    parser.add_argument("--enlarge", type=int, metavar="SIDE")
    arguments = parser.parse_args()
    if arguments.model and arguments.data:
        accuracies(arguments.model, arguments.data, arguments.classes, arguments.enlarge)
    else:
        times(arguments.photo)


if __name__ == "__main__":
    main()
