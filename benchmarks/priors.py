"""Learn the priors of a bundle on training classes, and write them into it; its graphs stay as they are.

    python benchmarks/priors.py MODEL.edge DATA [--classes TRAIN.txt]... [--most 60]

The exporter learns them on the images that a run kept; a shipped bundle has them from more.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.measuring import with_one_thread
from edge_adapt.export.priors import learn_priors, record_priors
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.model import load_model


def first_of_each(data: ImageDataset, most: int) -> ImageDataset:
    """The first images of each class."""
    kept = [
        np.arange(start, min(stop, start + most)) for start, stop in zip(data.starts, data.starts[1:], strict=False)
    ]
    chosen = np.concatenate(kept)
    starts = np.cumsum([0, *map(len, kept)])
    return replace(data, images=data.images[chosen], starts=starts, files=tuple(data.files[index] for index in chosen))


def main() -> None:
    """Learn, print and record."""
    parser = argparse.ArgumentParser(description="Learn the priors of a bundle on training classes.")
    parser.add_argument("model", help="The path of a bundle.")
    parser.add_argument("data", help="A folder or zip with one sub-folder a class.")
    parser.add_argument("--classes", action="append", default=[], metavar="FILE", help="The training classes.")
    parser.add_argument("--most", type=int, default=60, help="Images of a class.")
    arguments = parser.parse_args()
    with_one_thread()
    graphs = load_model(arguments.model, provider="cpu", threads=1).graphs
    manifest = graphs.manifest
    data = first_of_each(load_dataset(arguments.data, manifest.preprocessing, arguments.classes), arguments.most)
    priors = learn_priors(graphs, data, manifest.default_steps, manifest.support_views, progress=True)
    print(priors)
    record_priors(arguments.model, priors)


if __name__ == "__main__":
    main()
