"""The parity gate: a bundle is written only if it gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import EpisodeModel, evaluate_episodes

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest magnitude of the tensor."""

STEPS = (0, 1, 5, 50)

SHOTS: tuple[tuple[int, ...], ...] = ((1, 1), (5,) * 5, (1, 20), (1, 3, 2, 7), (1,) * 50, (60, 90))
"""Support sets to compare on: the shots of each class. The last is large against most feature sizes."""

EPISODES = 200


@dataclass(frozen=True)
class Comparison:
    """One line of the gate's report: what was compared, and the largest relative difference or the accuracies."""

    what: str
    result: str
    passed: bool

    def __str__(self) -> str:
        return f"{'ok ' if self.passed else 'NO '} {self.what}: {self.result}"


def check_parity(
    bundle: EpisodeModel,
    torch_model: EpisodeModel,
    data: ImageDataset,
    default_steps: int,
    has_steps: bool,
    report: Callable[[Comparison], None],
) -> None:
    """Compare a bundle with the PyTorch model that it was exported from, and report each comparison.

    First tensor by tensor: features, then head state and logits after 0, 1, 5 and 50 steps for several support sets; then the
    accuracy over the same episodes on both sides, each with its own features.

    Args:
        bundle: the graphs, run by ONNX Runtime.
        torch_model: the same functions in PyTorch.
        data: images to compare on.
        default_steps: steps of the accuracy comparison.
        has_steps: whether the method takes steps at all.
        report: is called with each comparison.

    Raises:
        EdgeAdaptError: one of the comparisons failed.
    """
    comparisons: list[Comparison] = []

    def add(comparison: Comparison) -> None:
        comparisons.append(comparison)
        report(comparison)

    sample = data.images[:: max(1, len(data.images) // 64)][:64]
    ours, theirs = bundle.embed(sample), torch_model.embed(sample)
    add(_compare(f"features of {len(sample)} images", ours, theirs))
    alone = np.concatenate([bundle.embed(image[None]) for image in sample])
    add(_compare("features of the same images one at a time", alone, theirs))
    random = np.random.default_rng(0)
    for shots in SHOTS:
        labels = np.repeat(np.arange(len(shots)), shots)
        # More shots than images: repeat, a little off each time.
        features = theirs[random.integers(len(theirs), size=len(labels))]
        features = (features * random.uniform(0.9, 1.1, features.shape)).astype(np.float32)
        for steps in STEPS if has_steps else (0,):
            add(_compare_adaptation(bundle, torch_model, features, labels, theirs, shots, steps))
    n_way = min(5, len(data.class_names))
    n_query = max(1, min(15, int(data.counts.min()) - 1))
    results = [
        evaluate_episodes(
            model, data, n_way=n_way, n_shot=1, n_query=n_query, episodes=EPISODES, steps=default_steps, seed=0
        ).accuracy
        for model in (bundle, torch_model)
    ]
    # A query may lie on the boundary between two classes to within rounding; one in a thousand is far more than that.
    close = abs(results[0] - results[1]) < 1e-3
    accuracies = f"{100 * results[0]:.3f}% through the bundle, {100 * results[1]:.3f}% in PyTorch"
    add(Comparison(f"accuracy over {EPISODES} episodes, {n_way}-way 1-shot", accuracies, close))
    failed = [comparison for comparison in comparisons if not comparison.passed]
    if failed:
        raise EdgeAdaptError(
            f"the bundle disagrees with PyTorch and is not written: {failed[0].what}: {failed[0].result}."
        )


def _compare_adaptation(
    bundle: EpisodeModel,
    torch_model: EpisodeModel,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    query: NDArray[np.float32],
    shots: Sequence[int],
    steps: int,
) -> Comparison:
    n_way = len(shots)
    (state, losses), (torch_state, torch_losses) = (
        model.adapt(features, labels, n_way, steps) for model in (bundle, torch_model)
    )
    pairs = [(state[name], torch_state[name]) for name in state]
    pairs.append((losses, torch_losses))
    pairs.append((bundle.predict(query, state), torch_model.predict(query, torch_state)))
    described = f"{n_way} ways of {_span(shots)}, {steps} steps: head state, losses and logits"
    difference = max(relative_difference(ours, theirs) for ours, theirs in pairs)
    return Comparison(described, f"relative difference {difference:.1e}", difference <= TOLERANCE)


def _compare(what: str, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Comparison:
    difference = relative_difference(ours, theirs)
    return Comparison(what, f"relative difference {difference:.1e}", difference <= TOLERANCE)


def relative_difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """The largest difference over the largest magnitude; infinite where shapes differ or something is not finite."""
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    if not ours.size:
        return 0.0
    magnitude = max(float(np.abs(theirs).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(ours - theirs).max()) / magnitude


def _span(shots: Sequence[int]) -> str:
    few, many = min(shots), max(shots)
    return f"{few} shots" if few == many else f"{few} to {many} shots"
