"""What an edit of a classifier costs and does: adding a class, and corrections along a stream of images.

    python benchmarks/edits.py [--omniglot OMNIGLOT.zip --classes TEST.txt] [--dev FOLDER] [--grocery GROCERY.zip] [--streams 40]

First the time of `Classifier.add` of one class of 5 images, and of one correction, without embedding, beside adapting once to the
same support set; with the accuracy on the old classes before and after. The leave-one-out estimate, which is made when it is
first needed, is timed beside. Then streams: 5 classes, 1 shot each, and 50 images in a row in changed light (darker, less
contrast, a colour cast), each corrected when it was classified wrong. The accuracy on further images in that light stands
beside that without any correction, and that of adapting anew to the shots and all 50 images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import machine, table, time_in_turn
from benchmarks.photo_sets import add_sources, sources
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.evaluation import embed_dataset
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.model import MetaModel, load_model

SEED = 0
SHOTS, WAYS, STREAM, ROUNDS = 5, 5, 50, 20


@dataclass(frozen=True, eq=False)
class Features:
    """Of the images of a data set: as shots and as queries, as they are and in changed light, float32 [I, D] each."""

    shots: NDArray[np.float32]
    queries: NDArray[np.float32]
    changed_shots: NDArray[np.float32]
    changed_queries: NDArray[np.float32]


def in_changed_light(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Darker, with less contrast, and photos with a warm cast; of drawings the ink is paler and the sheet darker."""
    cast = np.array([1.0, 0.85, 0.65], np.float32) if images.shape[-1] == 3 else np.float32(1)
    return np.asarray(np.clip((images.astype(np.float32) * 0.45 + 25) * cast, 0, 255), np.uint8)


def features_of(model: MetaModel, data: ImageDataset) -> Features:
    """What `embed` gives."""
    views = model.manifest.support_views
    plain = embed_dataset(model.graphs, data, views, progress=True)
    changed = embed_dataset(model.graphs, replace(data, images=in_changed_light(data.images)), views, progress=True)
    return Features(plain.shots, plain.queries, changed.shots, changed.queries)


def image(index: int, features: NDArray[np.float32], changed: bool = False) -> EmbeddedImage:
    return EmbeddedImage(f"{index}", f"{index + (1 << 40) * changed:064x}", features[index])


def accuracy(mine: Classifier, labelled: Sequence[tuple[str, EmbeddedImage]]) -> float:
    return float(np.mean([mine.classify_embedded(query).label == label for label, query in labelled]))


def episode(data: ImageDataset, n_way: int, count: int, random: np.random.Generator) -> list[list[int]]:
    """Indices of so many images of each of so many classes."""
    enough = np.flatnonzero(data.counts >= count)
    chosen = random.choice(enough, n_way, replace=False)
    return [(data.starts[of] + random.permutation(data.counts[of])[:count]).tolist() for of in chosen]


def edits(model: MetaModel, data: ImageDataset, features: Features, n_way: int, n_shot: int) -> list[str]:
    """A row: adding a class to one less than `n_way`, and a correction, in milliseconds, beside adapting once."""
    random = np.random.default_rng(SEED)
    classes = episode(data, n_way, 2 * SHOTS, random)
    shots = {f"{k:03d}": [image(i, features.shots) for i in of[:n_shot]] for k, of in enumerate(classes)}
    queries = [(f"{k:03d}", image(i, features.queries)) for k, of in enumerate(classes) for i in of[SHOTS:]]
    *old, new = shots
    before = model.adapt_embedded({label: shots[label] for label in old})
    after, once = before.add_embedded(new, shots[new]), model.adapt_embedded(shots)
    seconds = time_in_turn(
        {
            "add": lambda: before.add_embedded(new, shots[new]),
            "once": lambda: model.adapt_embedded(shots),
            "correct": lambda: after.correct_embedded(queries[0][1], old[-1]),
            "estimate": lambda: model.adapt_embedded(shots).left_out,
        },
        ROUNDS,
    )
    same = all(
        array.tobytes() == after.adaptation.head_state[name].tobytes()
        for name, array in once.adaptation.head_state.items()
    )
    of_old = [(label, query) for label, query in queries if label != new]
    return [
        f"{n_way - 1} + 1, {n_shot}",
        f"{1000 * median(seconds['add']):.1f} ms",
        f"{1000 * median(seconds['once']):.1f} ms",
        "bit for bit" if same else "NOT THE SAME",
        f"{1000 * median(seconds['correct']):.1f} ms",
        f"{1000 * (median(seconds['estimate']) - median(seconds['once'])):.1f} ms",
        f"{100 * accuracy(before, of_old):.1f} / {100 * accuracy(after, of_old):.1f}",
    ]


def streams(model: MetaModel, data: ImageDataset, features: Features, count: int) -> list[str]:
    """A row: the accuracy in changed light without corrections, with them, and after adapting anew on all."""
    random = np.random.default_rng(SEED)
    found = []
    for _ in range(count):
        classes = episode(data, WAYS, 1 + STREAM // WAYS + 5, random)
        shots = {str(k): [image(of[0], features.shots)] for k, of in enumerate(classes)}
        stream = [(str(k), i) for k, of in enumerate(classes) for i in of[1 : 1 + STREAM // WAYS]]
        later = [(str(k), image(i, features.changed_queries)) for k, of in enumerate(classes) for i in of[-5:]]
        plain = mine = model.adapt_embedded(shots)
        corrections = 0
        for index in random.permutation(len(stream)):
            label, i = stream[index]
            if mine.classify_embedded(image(i, features.changed_queries)).label != label:
                mine = mine.correct_embedded(image(i, features.changed_shots, changed=True), label)
                corrections += 1
        for label, i in stream:
            shots[label].append(image(i, features.changed_shots, changed=True))
        anew = model.adapt_embedded(shots)
        found.append([accuracy(plain, later), accuracy(mine, later), accuracy(anew, later), corrections])
    without, corrected, anew_accuracy, number = np.mean(found, axis=0)
    return [f"{100 * without:.1f}", f"{100 * corrected:.1f}", f"{100 * anew_accuracy:.1f}", f"{number:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure edits of classifiers.")
    add_sources(parser)
    parser.add_argument("--streams", type=int, default=40)
    arguments = parser.parse_args()
    print(machine())
    costs, learned = [], []
    for source, name in sources(arguments):
        model = load_model(name, "cpu", 1)
        data = load_dataset(source.path, model.manifest.preprocessing, source.classes, progress=True)
        features = features_of(model, data)
        for n_way, n_shot in ((6, SHOTS), (100, 1), (100, SHOTS)):
            if (data.counts >= 2 * SHOTS).sum() >= n_way:
                costs.append([source.name, *edits(model, data, features, n_way, n_shot)])
        if (data.counts >= 6 + STREAM // WAYS).sum() >= WAYS:
            learned.append([source.name, *streams(model, data, features, arguments.streams)])
    print("\nProcessor time of one thread, without embedding; accuracy on the old classes before and after, percent.\n")
    print(table(["", "classes, shots", "add", "adapt once", "the same", "correct", "estimate", "old classes"], costs))
    print(f"\n{WAYS} classes of 1 shot, {STREAM} images in changed light; accuracy on others in it, percent.\n")
    print(table(["", "no correction", "corrected", "adapted anew on all", "corrections"], learned))


if __name__ == "__main__":
    main()
