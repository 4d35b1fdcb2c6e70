"""The parity gate: a bundle is written only if it gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_adapt.export.embed.extractor import HALF_TOLERANCE
from edge_adapt.runtime.contract import EpisodeModel, HeadState
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.runtime.images.views import View

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest magnitude of the tensor."""

STEPS = (0, 1, 5, 50)

SHOTS: tuple[tuple[int, ...], ...] = ((1, 1), (5,) * 5, (1, 20), (1, 3, 2, 7), (1,) * 50, (60, 90))
"""Support sets to compare on: the shots of each class. The last is large against most feature sizes."""

ALL_LAYERS_STEPS, ALL_LAYERS_SHOTS = (0, 1, 5), SHOTS[:4]
"""Where all layers adapt, a step costs a thousand times as much."""

ALL_LAYERS_DRAWS = 5
"""And the last bit of two numbers decides which of them is the maximum, and where its gradient goes: in one of twenty
comparisons after 5 steps that moved the logits by more than `TOLERANCE`. So where one fails others are drawn, up to so many in
all; a graph that is wrong fails on all of them."""

EPISODES = 200

DRIFT = 100
"""Where features have a common mean that is large beside how far they are apart, their last bit decides much, and no two
implementations agree to `TOLERANCE`. So as much is allowed as this many times what the last bit of the features makes of
PyTorch's own answer; sums in another order weigh as much as some hundred last bits."""


@dataclass(frozen=True)
class Comparison:
    """One line of the gate's report: what was compared, and the largest relative difference or the accuracies."""

    what: str
    result: str
    passed: bool

    def __str__(self) -> str:
        return f"{'ok ' if self.passed else 'NO '} {self.what}: {self.result}"


@dataclass(frozen=True, eq=False)
class Reference:
    """What the graphs of a bundle were exported from, and the images to compare the two on.

    Attributes:
        model: embeds, adapts and predicts without the graphs.
        data: images of two classes or more.
        embeds_with: what computes its features, for reports and messages.
        half: whether those are computed in float16.
        all_layers: whether every layer adapts.
    """

    model: EpisodeModel
    data: ImageDataset
    embeds_with: str = "PyTorch"
    half: bool = False
    all_layers: bool = False


def check_parity(
    bundle: EpisodeModel,
    reference: Reference,
    default_steps: int,
    report: Callable[[Comparison], None],
    views: Sequence[View] = (),
) -> None:
    """Compare a bundle with the model that it was exported from, and report each comparison.

    First tensor by tensor: features, then head state and logits after 0, 1, 5 and 50 steps (all layers: 5 at most) for several
    support sets; then the accuracy over the same episodes on both sides, each with its own features.

    Args:
        bundle: the graphs, run by ONNX Runtime.
        reference: what it was exported from.
        default_steps: of the accuracy comparison; 0 for a method that takes none.
        report: is called with each comparison.
        views: of support images, for the accuracy comparison.

    Raises:
        EdgeAdaptError: one of the comparisons failed; names the first, and what the bundle disagrees with.
    """
    torch_model, data = reference.model, reference.data
    faults: list[str] = []

    def add(comparison: Comparison, other: str = "PyTorch") -> None:
        report(comparison)
        if not comparison.passed:
            faults.append(
                f"the bundle disagrees with {other} and is not written: {comparison.what}: {comparison.result}."
            )

    sample = data.images[:: max(1, len(data.images) // 64)][:64]
    ours, theirs = bundle.embed(sample), torch_model.embed(sample)
    tolerance = HALF_TOLERANCE if reference.half else TOLERANCE
    beside = f"beside those of {reference.embeds_with}"
    add(_compare(f"features of {len(sample)} images {beside}", ours, theirs, tolerance), reference.embeds_with)
    alone = np.concatenate([bundle.embed(image[None]) for image in sample])
    add(
        _compare(f"features of the same images one at a time {beside}", alone, theirs, tolerance), reference.embeds_with
    )
    random = np.random.default_rng(0)
    all_shots, all_steps = (ALL_LAYERS_SHOTS, ALL_LAYERS_STEPS) if reference.all_layers else (SHOTS, STEPS)
    draws = ALL_LAYERS_DRAWS if reference.all_layers else 1
    for shots in all_shots:
        labels = np.repeat(np.arange(len(shots)), shots)
        features = _drawn(theirs, len(labels), random)
        for steps in all_steps if default_steps else (0,):
            for _ in range(draws):
                comparison = _compare_adaptation(bundle, torch_model, features, labels, theirs, shots, steps)
                if comparison.passed:
                    break
                features = _drawn(theirs, len(labels), random)
            add(comparison)
    n_way = min(5, len(data.class_names))
    n_query = max(1, min(15, int(data.counts.min()) - 1))
    results = [
        evaluate_episodes(
            model,
            data,
            EvaluationProtocol(n_way=n_way, n_shot=1, n_query=n_query, episodes=EPISODES, steps=default_steps, seed=0),
            views=views,
        ).accuracy
        for model in (bundle, torch_model)
    ]
    # A query may lie on the boundary between two classes to within rounding; one in a thousand, or one in a hundred with
    # features in float16, is far more than that.
    close = abs(results[0] - results[1]) < (1e-2 if reference.half else 1e-3)
    accuracies = f"{100 * results[0]:.3f}% through the bundle, {100 * results[1]:.3f}% with {reference.embeds_with}"
    add(Comparison(f"accuracy over {EPISODES} episodes, {n_way}-way 1-shot", accuracies, close), reference.embeds_with)
    if faults:
        raise EdgeAdaptError(faults[0])


def _drawn(features: NDArray[np.float32], count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Features of so many shots. There may be more than images: repeat, a little off each time."""
    drawn = features[random.integers(len(features), size=count)]
    return (drawn * random.uniform(0.9, 1.1, drawn.shape)).astype(np.float32)


@dataclass(frozen=True)
class _Outcome:
    """What a model makes of a support set, and of queries after that."""

    state: HeadState
    losses: NDArray[np.float32]
    logits: NDArray[np.float32]

    def difference(self, expected: _Outcome) -> float:
        """The largest relative difference.

        The head state has one magnitude, since rounding alone keeps some of its tensors from zero. A loss below one nat is
        compared in nats: a float32 probability near 1 has few digits left for its logarithm.
        """
        magnitude = max(float(np.abs(array).max(initial=0)) for array in expected.state.values())
        return max(
            relative_difference(self.losses, expected.losses, max(1.0, float(expected.losses.max(initial=0)))),
            relative_difference(self.logits, expected.logits),
            *(relative_difference(self.state[name], expected.state[name], magnitude) for name in expected.state),
        )


def _adapt(
    model: EpisodeModel,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    query: NDArray[np.float32],
    shots: Sequence[int],
    steps: int,
) -> _Outcome:
    state, losses = model.adapt(features, labels, len(shots), steps)
    return _Outcome(state, losses, model.predict(query, state))


def _compare_adaptation(
    bundle: EpisodeModel,
    torch_model: EpisodeModel,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    query: NDArray[np.float32],
    shots: Sequence[int],
    steps: int,
) -> Comparison:
    ours, theirs = (_adapt(model, features, labels, query, shots, steps) for model in (bundle, torch_model))
    up = np.random.default_rng(1).random(features.shape) < 0.5
    nudged = np.nextafter(features, np.where(up, np.inf, -np.inf).astype(np.float32))
    drift = DRIFT * _adapt(torch_model, nudged, labels, query, shots, steps).difference(theirs)
    difference = ours.difference(theirs)
    result = f"relative difference {difference:.1e}"
    if drift > TOLERANCE:
        result += f" ({drift:.1e} allowed: the last bit of the features decides much here)"
    described = f"{len(shots)} ways of {_span(shots)}, {steps} steps: head state, losses and logits"
    return Comparison(described, result, np.isfinite(difference) and difference <= max(TOLERANCE, drift))


def _compare(what: str, ours: NDArray[np.float32], theirs: NDArray[np.float32], tolerance: float) -> Comparison:
    difference = relative_difference(ours, theirs)
    return Comparison(what, f"relative difference {difference:.1e}", difference <= tolerance)


def relative_difference(
    ours: NDArray[np.float32], theirs: NDArray[np.float32], magnitude: float | None = None
) -> float:
    """The largest difference over the largest magnitude; infinite where shapes differ or something is not finite.

    Args:
        ours: what is compared.
        theirs: what is expected.
        magnitude: to be used in place of the largest of `theirs`.
    """
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    if magnitude is None:
        magnitude = float(np.abs(theirs).max(initial=0))
    return float(np.abs(ours - theirs).max(initial=0)) / max(magnitude, float(np.finfo(np.float32).tiny))


def _span(shots: Sequence[int]) -> str:
    few, many = min(shots), max(shots)
    return f"{few} shots" if few == many else f"{few} to {many} shots"
