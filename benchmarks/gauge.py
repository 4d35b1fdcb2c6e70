"""How well values are read from photos of a gauge, beside the nearest neighbour and ridge regression.

    python benchmarks/gauge.py [--model photos-small] [--sets 5] [--photos 10] [--queries 200]

`samples/gauge` renders them: sets of photos to learn from, and others by the same rules, whose camera and light are drawn anew.
The nearest neighbour, by cosine, has the features of the whole photo, or those of its parts that the regressor has too, of the
photos as they are. So has ridge regression, its strength the best at photos that are left out. Of each set one value, drawn at
random, is then made wrong by a fifth of the range or more, for `check` to find.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measuring import machine, table
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs
from edge_adapt.runtime.images.images import named
from edge_adapt.runtime.images.looks import LOOKS
from edge_adapt.runtime.model import MetaModel, load_model
from edge_adapt.runtime.regressor.check import check_readings
from edge_adapt.samples.gauge.render_gauges import MOST, Scene, photograph

STRENGTHS = 10.0 ** np.arange(-4, 2)
Array = NDArray[np.floating]


def draw(count: int, random: RandomState) -> tuple[list[Image.Image], Array]:
    """Photos at values evenly over the scale, each a little off, in random order."""
    values = (random.permutation(count) + random.uniform(0, 1, count)) / count * MOST
    return [photograph(value, Scene.draw(random), random) for value in values], values


def embedded(graphs: Graphs, images: list[Image.Image], as_shots: bool) -> list[EmbeddedImage]:
    return [graphs.embed_image(named(image), as_shot=as_shots) for image in images]


def nearest(features: Array, values: Array, queries: Array) -> Array:
    """The value of the nearest photo by cosine."""
    unit, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (features, queries))
    return np.asarray(values[(other @ unit.T).argmax(axis=1)])


def ridge(features: Array, values: Array, queries: Array) -> Array:
    """Ridge regression, its strength by leave-one-out."""
    mean, middle = features.mean(axis=0), values.mean()
    centred, count = features - mean, len(values)
    gram = centred @ centred.T
    errors, duals = [], []
    for strength in STRENGTHS * np.trace(gram) / count:
        inverse = np.linalg.inv(gram + strength * np.eye(count))
        duals.append(inverse @ (values - middle))
        own = np.diag(inverse) - 1 / (count * strength)
        errors.append(((duals[-1] / np.maximum(own, 1e-12)) ** 2).mean())
    return np.asarray((queries - mean) @ centred.T @ duals[int(np.argmin(errors))] + middle)


def measure(model: MetaModel, sets: int, photos: int, queries: int) -> list[dict[str, float]]:
    """Of each set, the mean errors in percent of the range by name, the share of values within their intervals, in percent, and
    whether `check` names the wrong value, and how many others."""
    whole, parts = model.graphs, model.for_values
    new, truth = draw(queries, RandomState(0))
    seen = embedded(parts, new, False)
    query_parts, query_whole = (
        np.stack([image.features for image in found]) for found in (seen, embedded(whole, new, False))
    )
    results = []
    for seed in range(1, sets + 1):
        random = RandomState(seed)
        images, values = draw(photos, random)
        shots = embedded(parts, images, True)
        regressor = model.regress_embedded(shots, values)
        readings = [regressor.predict_embedded(image) for image in seen]
        read = np.array([reading.values["value"] for reading in readings])
        low, high = np.array([reading.intervals["value"] for reading in readings]).T
        own = np.stack([shot.features.reshape(LOOKS + 1, -1)[0] for shot in shots])
        plain = np.stack([image.features for image in embedded(whole, images, False)])
        answers = {
            "the regressor": read,
            "nearest, parts": nearest(own, values, query_parts),
            "nearest, whole": nearest(plain, values, query_whole),
            "ridge, parts": ridge(own, values, query_parts),
            "ridge, whole": ridge(plain, values, query_whole),
        }
        result = {name: 100 * float(np.abs(answer - truth).mean()) / MOST for name, answer in answers.items()}
        result["within the interval"] = 100 * float(((low <= truth) & (truth <= high)).mean())
        wrong = int(random.randint(photos))
        spoilt = values.copy()
        spoilt[wrong] = (spoilt[wrong] + random.uniform(0.2, 0.8) * MOST) % MOST
        if abs(spoilt[wrong] - values[wrong]) < 0.2 * MOST:
            spoilt[wrong] = MOST - spoilt[wrong]
        named_shots = [EmbeddedImage(str(number), shot.sha256, shot.features) for number, shot in enumerate(shots)]
        found = [finding.images[0] for finding in check_readings(model.regress_embedded(named_shots, spoilt))]
        result["wrong value found"] = 100.0 * (str(wrong) in found)
        result["others named"] = float(len(set(found) - {str(wrong)}))
        results.append(result)
        print({name: round(value, 2) for name, value in result.items()}, file=sys.stderr, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how well values are read from photos of a gauge.")
    parser.add_argument("--model", default="photos-small")
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    results = measure(load_model(arguments.model, "cpu"), arguments.sets, arguments.photos, arguments.queries)
    print(machine())
    of_what = f"{arguments.sets} sets of {arguments.photos} photos, {arguments.queries} new ones"
    print(f"\n{arguments.model}, {of_what}; mean, least and most of the sets.\n")
    rows = []
    for name in results[0]:
        column = [result[name] for result in results]
        rows.append([name, *(f"{number:.2f}" for number in (np.mean(column), min(column), max(column)))])
    print(table(["percent of the range", "mean", "least", "most"], rows))


if __name__ == "__main__":
    main()
