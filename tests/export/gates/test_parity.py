"""The parity gate, on models in NumPy: it passes what is right, and names whatever is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_adapt.export.gates import parity
from edge_adapt.export.gates.parity import Comparison, Reference, check_parity, relative_difference
from edge_adapt.runtime.contract import HeadState
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from tests import reference
from tests.gratings import gratings

Adapted = tuple[HeadState, NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Model:
    """Pixels as features, all moved by `offset`, and the head in NumPy; `scale` None begins at zero."""

    scale: float | None = 0.1
    pull: float = 1e-2
    offset: float = 0.0

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Means of 7x7 squares, [B, 16]."""
        squares = images.reshape(len(images), 4, 7, 4, 7).mean(axis=(2, 4)).reshape(len(images), 16)
        features: NDArray[np.float32] = (squares / 64 - 2 + self.offset).astype(np.float32)
        return features

    def adapt(self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int) -> Adapted:
        """In float64."""
        weight, bias, losses = reference.adapt(features, labels, n_way, steps, scale=self.scale, pull=self.pull)
        state = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
        return state, losses.astype(np.float32)

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """Logits."""
        logits: NDArray[np.float32] = features @ state["weight"].T + state["bias"]
        return logits


@pytest.fixture(scope="module")
def data() -> ImageDataset:
    return gratings(8, 6)


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is a plain loop; a part of the gate's work is enough for it."""
    monkeypatch.setattr(parity, "STEPS", (0, 1, 5))
    monkeypatch.setattr(parity, "SHOTS", ((1, 1), (1, 3, 2, 7), (20, 30)))
    monkeypatch.setattr(parity, "EPISODES", 40)


def gate(ours: Any, theirs: Any, data: ImageDataset, steps: int = 2, **origin: Any) -> list[Comparison]:
    """What the gate reports, whether it passes or not."""
    comparisons: list[Comparison] = []
    failed = False
    try:
        check_parity(ours, Reference(theirs, data, **origin), steps, comparisons.append)
    except EdgeAdaptError as error:
        failed = True
        first = next(comparison for comparison in comparisons if not comparison.passed)
        assert first.what in str(error) and first.result in str(error) and "not written" in str(error)
    assert failed == any(not comparison.passed for comparison in comparisons)
    return comparisons


class Unlucky(Model):
    """One whose first answer of several steps is off."""

    def __init__(self, always: bool) -> None:
        super().__init__(0.1)
        self._always, self._answered = always, False

    def adapt(self, features: Any, labels: Any, n_way: int, steps: int) -> Any:
        """Head state and losses."""
        state, losses = super().adapt(features, labels, n_way, steps)
        if steps == 5 and (self._always or not self._answered):
            self._answered, state["bias"] = True, state["bias"] + 1
        return state, losses


def test_where_all_layers_adapt_a_comparison_that_fails_is_drawn_again(data: ImageDataset) -> None:
    assert all(comparison.passed for comparison in gate(Unlucky(False), Model(0.1), data, all_layers=True))
    for always, all_layers in ((True, True), (False, False)):
        assert any(
            not comparison.passed for comparison in gate(Unlucky(always), Model(0.1), data, all_layers=all_layers)
        )


@pytest.mark.parametrize("scale", [0.1, None])
def test_equal_models_pass_and_everything_is_reported(scale: float | None, data: ImageDataset) -> None:
    comparisons = gate(Model(scale), Model(scale), data)
    assert all(comparison.passed for comparison in comparisons)
    described = "\n".join(map(str, comparisons))
    assert len(comparisons) == 2 + 3 * 3 + 1
    for part in ("features of 48 images", "one at a time", "0 steps", "5 steps", "4 ways of 1 to 7 shots"):
        assert part in described
    assert "accuracy over 40 episodes, 5-way 1-shot" in described and "NO" not in described


def test_a_method_without_steps_is_compared_at_none(data: ImageDataset) -> None:
    comparisons = gate(Model(), Model(), data, steps=0)
    assert len(comparisons) == 2 + 3 + 1 and all(comparison.passed for comparison in comparisons)


class Wrapped:
    """A model with one of its functions changed."""

    def __init__(self, **changes: Callable[..., Any]) -> None:
        model = Model()
        for name in ("embed", "adapt", "predict"):
            function = getattr(model, name)
            change = changes.get(name)
            setattr(self, name, _after(function, change) if change else function)


def _after(function: Callable[..., Any], change: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: change(function(*arguments), *arguments)


def bias_off(adapted: Adapted, *_: Any) -> Adapted:
    state, losses = adapted
    return {**state, "bias": state["bias"] + 3e-4 * np.abs(state["weight"]).max()}, losses


def off_after_five_steps(adapted: Adapted, features: Any, labels: Any, n_way: int, steps: int) -> Adapted:
    state, losses = adapted
    return {**state, "weight": state["weight"] * (1.001 if steps == 5 else 1)}, losses


def off_for_many_images(adapted: Adapted, features: Any, labels: Any, n_way: int, steps: int) -> Adapted:
    state, losses = adapted
    return {**state, "weight": state["weight"] * (1.001 if len(labels) == 50 else 1)}, losses


FAULTS: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "features": ({"embed": lambda features, images: features * np.float32(1.0002)}, "features of 48 images"),
    "features that depend on the batch": (
        {"embed": lambda features, images: features - features.mean(0) * np.float32(len(images) == 1)},
        "one at a time",
    ),
    "features of another size": ({"embed": lambda features, images: features[:, :8]}, "features of 48 images"),
    "NaN features": ({"embed": lambda features, images: features * np.float32("nan")}, "features of 48 images"),
    "bias": ({"adapt": bias_off}, "2 ways of 1 shots, 0 steps"),
    "five steps": ({"adapt": off_after_five_steps}, "2 ways of 1 shots, 5 steps"),
    "many images": ({"adapt": off_for_many_images}, "2 ways of 20 to 30 shots, 0 steps"),
    "loss": ({"adapt": lambda adapted, *_: (adapted[0], adapted[1] * np.float32(1.001))}, "1 steps"),
    "losses missing": ({"adapt": lambda adapted, *_: (adapted[0], adapted[1][:0])}, "1 steps"),
    "logits": ({"predict": lambda logits, *_: logits * np.float32(1.001)}, "2 ways of 1 shots, 0 steps"),
    "NaN logits": ({"predict": lambda logits, *_: logits * np.float32("nan")}, "2 ways of 1 shots, 0 steps"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_is_wrong_is_named(fault: str, data: ImageDataset) -> None:
    changes, expected = FAULTS[fault]
    wrong = [comparison for comparison in gate(Wrapped(**changes), Model(), data) if not comparison.passed]
    assert expected in wrong[0].what


def test_accuracy_is_compared_over_the_same_episodes(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    # Too small a difference for the tensors may still decide a query on the boundary; too many of those are none.
    monkeypatch.setattr(parity, "TOLERANCE", 10)
    comparisons = gate(Wrapped(predict=lambda logits, *_: -logits), Model(), data)
    assert [comparison.passed for comparison in comparisons] == [True] * 11 + [False]
    assert "through the bundle" in comparisons[-1].result


def test_features_in_float16_may_be_rounded_and_nothing_else_may(data: ImageDataset) -> None:
    origin: dict[str, Any] = {"embeds_with": "mine.onnx", "half": True}

    def rounded(features: NDArray[np.float32], _: Any) -> NDArray[np.float32]:
        nearly: NDArray[np.float32] = features.astype(np.float16).astype(np.float32) * np.float32(1.005)
        return nearly

    assert not all(comparison.passed for comparison in gate(Wrapped(embed=rounded), Model(), data))
    assert all(comparison.passed for comparison in gate(Wrapped(embed=rounded), Model(), data, **origin))
    wrong = gate(Wrapped(embed=lambda features, _: features * np.float32(1.05)), Model(), data, **origin)
    assert [comparison.passed for comparison in wrong[:3]] == [False, False, True]
    wrong = gate(Wrapped(predict=lambda logits, *_: logits * np.float32(1.001)), Model(), data, **origin)
    assert [comparison.passed for comparison in wrong[:3]] == [True, True, False]


def test_what_the_bundle_disagrees_with_is_named(data: ImageDataset) -> None:
    origin: dict[str, Any] = {"embeds_with": "mine.onnx"}
    comparisons = gate(Model(), Model(), data, **origin)
    assert "features of 48 images beside those of mine.onnx" in str(comparisons[0])
    assert comparisons[-1].result.endswith("% with mine.onnx")
    for part, other in (("embed", "mine.onnx"), ("predict", "PyTorch")):
        ours = Wrapped(**{part: lambda array, *_: array * np.float32(1.001)})
        with pytest.raises(EdgeAdaptError, match=rf"^the bundle disagrees with {other} and is not written: .*\.$"):
            check_parity(ours, Reference(Model(), data, **origin), 2, lambda _: None)  # type: ignore[arg-type]


class Rounded(Model):
    """Losses as the logarithms of float32 probabilities."""

    def adapt(self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int) -> Adapted:
        """Head state and rounded losses."""
        state, losses = super().adapt(features, labels, n_way, steps)
        return state, -np.log(np.exp(-losses))


def test_losses_of_next_to_nothing_are_compared_absolutely(data: ImageDataset) -> None:
    # Far from each other, two classes of one shot have a loss of less than the last digit of a probability near 1.
    _, losses = Model(scale=75.0).adapt(Model().embed(data.images[::6][:2]), np.array([0, 1]), 2, 1)
    assert 0 < losses[0] < 1e-6
    assert all(comparison.passed for comparison in gate(Rounded(scale=75.0), Model(scale=75.0), data))


def test_where_the_last_bit_decides_rounding_is_no_fault(data: ImageDataset) -> None:
    comparisons = gate(Perturbed(offset=300.0), Model(offset=300.0), data)
    assert all(comparison.passed for comparison in comparisons[2:-1])
    assert any("last bit" in comparison.result for comparison in comparisons)
    # And a fault that is not rounding is one nevertheless.
    assert not all(comparison.passed for comparison in gate(Wrapped(adapt=bias_off), Model(), data))


class Perturbed(Model):
    """As a processor that sums in another order."""

    def adapt(self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int) -> Adapted:
        """From features that are off by a rounding error."""
        noise = np.random.default_rng(5).uniform(-3e-7, 3e-7, features.shape)
        return super().adapt((features * (1 + noise)).astype(np.float32), labels, n_way, steps)


def test_relative_difference() -> None:
    ones = np.ones((2, 3), np.float32)
    assert relative_difference(ones, ones) == 0
    assert relative_difference(ones * np.float32(1.5), ones) == 0.5
    assert relative_difference(ones, ones * np.float32(-2)) == 1.5
    assert relative_difference(ones * np.float32(1.5), ones, magnitude=10) == pytest.approx(0.05)
    assert relative_difference(ones[:0], ones[:0]) == 0
    assert relative_difference(ones * 0, ones * 0) == 0
    assert relative_difference(ones, ones[:1]) == np.inf
    assert relative_difference(ones * np.float32("inf"), ones) == np.inf
    assert relative_difference(ones, ones * np.float32("nan")) == np.inf
