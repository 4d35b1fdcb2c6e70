"""The second gate: a bundle of lower precision is written only if it is as accurate as the one in float32."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_adapt.export.embed.quantization import quantize, store_as_float16
from edge_adapt.export.gates.parity import Comparison
from edge_adapt.runtime.bundle.card import PRECISIONS
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import Features, embed_dataset, evaluate_episodes
from edge_adapt.runtime.graphs import Graphs

ALLOWED_DROP = 1.0
"""Percentage points of accuracy after adaptation that a lower precision may cost."""

LEAST_CALIBRATION, MOST_CALIBRATION = 16, 400
"""Images to find the ranges of the activations with: fewer miss some, more change nothing."""

LEAST_COSINE = {"fp16": 0.999, "int8": 0.9}
"""Of the features to those in float32, on average: below it the graph is wrong and not merely rounded, whatever its accuracy."""

SHOTS = (1, 5)
EPISODES = 400
BATCHES = {1: 30, 25: 8}
"""The batch sizes to time, and how often."""


@dataclass(frozen=True, eq=False)
class Precision:
    """In which precision a bundle is made.

    Attributes:
        name: of the backbone: "fp32"; "fp16", which stores its weights in half; or "int8", which computes in 8 bits.
        calibrate: images as the model will see them, to find the ranges of int8 with: a folder or zip of images, a data set, or
            images uint8 [I, H, W, C] of the model's size. None takes those that a run kept.
        allow_drop: percentage points of accuracy after adaptation that a lower precision may cost, 0 to 100.

    Raises:
        EdgeAdaptError: there is no such precision, the drop is no such number, or images are given that are not needed.
    """

    name: Literal["fp32", "fp16", "int8"] = "fp32"
    calibrate: str | os.PathLike[str] | ImageDataset | NDArray[np.uint8] | None = None
    allow_drop: float = ALLOWED_DROP

    def __post_init__(self) -> None:
        if self.name not in PRECISIONS:
            raise EdgeAdaptError(f"there is no precision {self.name!r}; choose one of {', '.join(PRECISIONS)}.")
        if not 0 <= self.allow_drop <= 100:
            raise EdgeAdaptError(f"a drop of {self.allow_drop} points cannot be allowed; give 0 to 100.")
        if self.calibrate is not None and self.name != "int8":
            raise EdgeAdaptError(
                f"images to calibrate with are for int8, and the precision is {self.name}; leave them out."
            )

    def reduced(self, embed: bytes) -> bytes:
        """`embed.onnx` in this precision, from float32; for int8, `calibrate` has to be images by now."""
        if self.name == "fp16":
            return store_as_float16(embed)
        if self.name == "fp32":
            return embed
        if not isinstance(self.calibrate, np.ndarray) or len(self.calibrate) < LEAST_CALIBRATION:
            found = len(self.calibrate) if isinstance(self.calibrate, np.ndarray) else 0
            raise EdgeAdaptError(
                f"int8 needs {LEAST_CALIBRATION} images or more to find the ranges of values with, and there are {found}; "
                "give more to calibrate with."
            )
        return quantize(embed, self.calibrate)


@dataclass(frozen=True)
class Row(Comparison):
    """A line of a table: what fp32 reaches, what the other precision reaches, and the difference or the ratio."""

    columns: tuple[str, str, str]

    def __str__(self) -> str:
        before, after, change = self.columns
        return f"{'ok ' if self.passed else 'NO '} {self.what:<16}{before:>16}{after:>16}{change:>16}"


def _row(what: str, precision: str, before: str, after: str, change: str, passed: bool = True) -> Row:
    before, after = f"{before} fp32", f"{after} {precision}"
    return Row(what, f"{before}, {after}, {change}", passed, (before, after, change))


def compare_precisions(
    full: Graphs, reduced: Graphs, data: ImageDataset, allowed_drop: float, report: Callable[[Comparison], None]
) -> None:
    """Compare a bundle of lower precision with the one in float32 that it was made from, and report each comparison.

    Features by their direction; accuracy after adaptation, over the same episodes; size; latency on one thread, by turns. `adapt`
    and `predict` are the same graphs in both.

    Args:
        full: the bundle in float32, on one thread.
        reduced: the other, on one thread.
        data: images to compare on.
        allowed_drop: percentage points of accuracy that may be lost.
        report: is called with each comparison.

    Raises:
        EdgeAdaptError: the accuracy drops by more, or the features are others.
    """
    precision = reduced.manifest.precision
    features = [embed_dataset(graphs, data, graphs.manifest.support_views) for graphs in (full, reduced)]
    comparisons = [
        _compare_features(precision, features[0].queries, features[1].queries),
        *_compare_accuracy(full, reduced, data, features, allowed_drop),
        _compare_size(full, reduced),
        *(_compare_latency(full, reduced, data.images, batch, rounds) for batch, rounds in BATCHES.items()),
    ]
    for comparison in comparisons:
        report(comparison)
    failed = [comparison for comparison in comparisons if not comparison.passed]
    if failed:
        remedy = (
            "take a higher precision" if precision == "fp16" else "give --calibrate images of its use, or take fp16"
        )
        if isinstance(failed[0], Row):
            remedy += ", or allow more with --allow-drop"
        raise EdgeAdaptError(
            f"the bundle in {precision} is too far from that in fp32 and is not written: {failed[0].what}: {failed[0].result}; "
            f"{remedy}."
        )


def _compare_features(precision: str, full: NDArray[np.float32], reduced: NDArray[np.float32]) -> Comparison:
    cosines = cosine(full, reduced)
    mean, least = float(cosines.mean()), float(cosines.min())
    return Comparison(
        f"features of {len(cosines)} images, {precision} beside fp32",
        f"cosine {mean:.4f} on average, {least:.4f} at least",
        mean >= LEAST_COSINE[precision],
    )


def _compare_accuracy(
    full: Graphs,
    reduced: Graphs,
    data: ImageDataset,
    features: Sequence[Features],
    allowed_drop: float,
) -> Iterator[Row]:
    n_way, smallest = min(5, len(data.class_names)), int(data.counts.min())
    for n_shot in sorted({min(n_shot, smallest - 1) for n_shot in SHOTS}):
        before, after = (
            100
            * evaluate_episodes(
                model,
                data,
                EvaluationProtocol(
                    n_way=n_way,
                    n_shot=n_shot,
                    n_query=min(15, smallest - n_shot),
                    episodes=EPISODES,
                    steps=full.manifest.default_steps,
                    seed=0,
                ),
                features=of_model,
            ).accuracy
            for model, of_model in zip((full, reduced), features, strict=True)
        )
        yield _row(
            f"{n_way}-way {n_shot}-shot",
            reduced.manifest.precision,
            f"{before:.2f}%",
            f"{after:.2f}%",
            f"{after - before:+.2f} points",
            before - after <= allowed_drop,
        )


def _compare_size(full: Graphs, reduced: Graphs) -> Row:
    before, after = (graphs.bundle.path.stat().st_size for graphs in (full, reduced))
    sizes = f"{before / 1e6:.3f} MB", f"{after / 1e6:.3f} MB"
    return _row("size", reduced.manifest.precision, *sizes, f"{after / before:.2f} times")


def _compare_latency(full: Graphs, reduced: Graphs, images: NDArray[np.uint8], batch: int, rounds: int) -> Row:
    """Processor time of `batch` images, the medians of so many turns after one that does not count."""
    pixels = np.ascontiguousarray(images[np.arange(batch) % len(images)])
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for graphs, taken in zip((full, reduced), seconds, strict=True):
            began = time.process_time()
            graphs.embed(pixels)
            if turn > 0:
                taken.append(time.process_time() - began)
    before, after = (median(taken) for taken in seconds)
    return _row(
        "embed, 1 image" if batch == 1 else f"embed, {batch} images",
        reduced.manifest.precision,
        f"{1e3 * before:.2f} ms",
        f"{1e3 * after:.2f} ms",
        f"{after / before:.2f} times",
    )


def cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each row to the same row, float64 [I]; 0 where a row is zero."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines: NDArray[np.float64] = (ours * theirs).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return cosines
