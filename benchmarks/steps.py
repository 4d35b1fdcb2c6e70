"""What the gradient steps of a bundle's head bring, on the same features: against no steps, and against a start from zero.

    python benchmarks/steps.py MODEL DATA... [--shots 1 5 20] [--steps 0 1 5 20 50]

DATA is a folder or zip, and may go on with `,classes=FILE`, `,support=PATTERN` and `,query=PATTERN`, such as
`photos.zip,support=train_*,query=test_*`. Every image is embedded once and in the model's views, and every
column sees the same episodes, drawn from the classes that have the images. The start from zero is the bundle's own graph with its
scale set to zero: same steps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from benchmarks.measuring import machine, table
from edge_adapt.runtime.contract import EpisodeModel, HeadState
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import Features, embed_dataset, evaluate_episodes
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import View
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.sessions import Session, scalar

EPISODES, N_WAY, N_QUERY, SEED = 600, 5, 15, 0


@dataclass(frozen=True)
class Source:
    """A data set, and which files of a class the episodes draw from."""

    path: str
    classes: tuple[str, ...] = ()
    support: str | None = None
    query: str | None = None

    @staticmethod
    def parse(text: str) -> Source:
        """`PATH[,classes=FILE][,support=PATTERN][,query=PATTERN]`."""
        path, *options = text.split(",")
        named = dict(option.split("=", 1) for option in options)
        classes = (named.pop("classes"),) if "classes" in named else ()
        return Source(path, classes, **named)

    def load(self, preprocessing: Preprocessing) -> ImageDataset:
        """Read it."""
        return load_dataset(self.path, preprocessing, self.classes)


def with_enough(data: ImageDataset, features: Features, source: Source, n_shot: int) -> tuple[ImageDataset, Features]:
    """The classes that have so many files for the support set, and one more for a query where all may be either, and the features
    of their images."""
    least = n_shot + (source.support is None and source.query is None)
    names = [name.rpartition("/")[2] for name in data.files]
    fits = np.array([source.support is None or fnmatchcase(name, source.support) for name in names])
    spans = list(zip(data.starts[:-1], data.starts[1:], strict=True))
    kept = [index for index, (start, stop) in enumerate(spans) if fits[start:stop].sum() >= least]
    members = np.concatenate([np.empty(0, np.int64), *(np.arange(*spans[index]) for index in kept)])
    smaller = replace(
        data,
        images=data.images[members],
        class_names=tuple(data.class_names[index] for index in kept),
        starts=np.cumsum([0, *(stop - start for start, stop in (spans[index] for index in kept))]),
        files=tuple(data.files[index] for index in members),
    )
    return smaller, features.of(members)


class FromZero:
    """The head of a bundle, started from zero instead of the prototypes."""

    def __init__(self, graphs: Graphs) -> None:
        self.embed, self.predict = graphs.embed, graphs.predict
        model = onnx.load_from_string(graphs.bundle.graph("adapt.onnx"))
        for tensor in model.graph.initializer:
            if tensor.name == "double_scale":
                tensor.CopyFrom(numpy_helper.from_array(np.array(0, np.float32), tensor.name))
        inputs = ("features", "targets", "n_way", "steps")
        self._session = Session(model.SerializeToString(), "adapt.onnx from zero", inputs)

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """See `Graphs.adapt`."""
        feeds: dict[str, NDArray[Any]] = {"features": features, "targets": labels}
        feeds |= {"n_way": scalar(n_way), "steps": scalar(steps)}
        outputs = dict(zip(self._session.outputs, self._session.run(feeds), strict=True))
        return {name: outputs[name] for name in ("weight", "bias")}, outputs["losses"]


def rows(
    models: dict[str, EpisodeModel],
    source: Source,
    data: ImageDataset,
    views: Sequence[View],
    shots: list[int],
    steps: list[int],
    default: int,
) -> list[list[str]]:
    """A row for each start and number of shots: accuracy after so many steps, and what the default number gains on none."""
    embedded = embed_dataset(next(iter(models.values())), data, views)
    found = []
    for n_shot in shots:
        fitting, features = with_enough(data, embedded, source, n_shot)
        for start, model in models.items():
            accuracies = {
                count: evaluate_episodes(
                    model,
                    fitting,
                    EvaluationProtocol(
                        n_way=N_WAY,
                        n_shot=n_shot,
                        n_query=N_QUERY,
                        episodes=EPISODES,
                        steps=count,
                        seed=SEED,
                        support_files=source.support,
                        query_files=source.query,
                    ),
                    features=features,
                )
                for count in sorted({*steps, 0, default})
            }
            gain = 100 * (accuracies[default].accuracy - accuracies[0].accuracy)
            shown = [f"{100 * accuracies[count].accuracy:.2f}" for count in sorted(accuracies)]
            ci95 = f"± {100 * accuracies[default].ci95:.2f}"
            found.append([Path(source.path).stem, str(n_shot), start, *shown, ci95, f"{gain:+.2f}"])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What the gradient steps of a bundle's head bring.")
    parser.add_argument("model", help="A bundle's path or name, with a gradient head.")
    parser.add_argument("data", nargs="+", type=Source.parse, help="Folders or zips with one sub-folder a class.")
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 1, 5, 20, 50])
    arguments = parser.parse_args()
    graphs = load_model(arguments.model, provider="cpu").graphs
    default = graphs.manifest.default_steps
    models: dict[str, EpisodeModel] = {"prototype": graphs, "zero": FromZero(graphs)}
    print(
        f"{arguments.model}: {N_WAY}-way, {EPISODES} episodes, {N_QUERY} queries a class, {default} steps by default."
    )
    print(machine("onnxruntime", "numpy"), "\n")
    header = ["data", "shots", "start", *(f"{count} steps" for count in sorted({*arguments.steps, 0, default}))]
    found: list[list[str]] = []
    for source in arguments.data:
        data = source.load(graphs.manifest.preprocessing)
        found += rows(models, source, data, graphs.manifest.support_views, arguments.shots, arguments.steps, default)
    print(table([*header, "95% CI", f"{default} steps over 0"], found))


if __name__ == "__main__":
    main()
