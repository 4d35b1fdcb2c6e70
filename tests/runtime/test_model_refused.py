"""What cannot be adapted to, and bundles that a forger or a careless exporter made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError, ImageError
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import MetaModel, load_classifier, load_model
from edge_adapt.runtime.sessions import Session
from tests.conftest import TINY
from tests.tiny_model import photos, refusal, variant

# What cannot be adapted to


def test_support_sets_that_will_not_do_are_named(tiny: MetaModel, tmp_path: Path) -> None:
    (image,) = photos({"a": 1})["a"]
    assert "two classes or more (a given)" in refusal(lambda: tiny.adapt({"a": [image]}), DataError)
    assert "two classes or more (none given)" in refusal(lambda: tiny.adapt({}), DataError)
    assert "class 'b' has no images" in refusal(lambda: tiny.adapt({"a": [image], "b": []}), DataError)
    message = refusal(lambda: tiny.adapt({"a": [image], "b": [tmp_path / "gone.jpg"]}), ImageError)
    assert "gone.jpg" in message
    for steps in (-1, -50):
        assert "0 or more" in refusal(
            lambda steps=steps: tiny.adapt({"a": [image], "b": [image]}, steps),  # type: ignore[misc]
            EdgeAdaptError,
        )


def test_the_models_limits_hold(tmp_path: Path, tiny: MetaModel) -> None:
    limited = load_model(variant(tmp_path / "limited.edge", max_ways=3, max_support=5), "cpu")
    limited.adapt(photos({"a": 1, "b": 3, "c": 1}))
    message = refusal(lambda: limited.adapt(photos(dict.fromkeys("abcd", 1))), DataError)
    assert "there are 4 classes and tiny takes at most 3" in message
    message = refusal(lambda: limited.adapt(photos({"a": 3, "b": 3})), DataError)
    assert "there are 6 support images and tiny takes at most 5" in message
    (image,) = photos({"a": 1})["a"]
    message = refusal(lambda: tiny.adapt({str(way): [image] for way in range(201)}), DataError)
    assert "there are 201 classes and tiny takes at most 200" in message


def test_two_hundred_classes_and_unequal_counts_adapt(tiny: MetaModel) -> None:
    random = np.random.default_rng(0)
    support = {
        f"{way:03d}": list(random.integers(0, 256, (1 + way % 3, 8, 8, 3)).astype(np.uint8)) for way in range(200)
    }
    classifier = tiny.adapt(support)
    assert len(classifier.labels) == 200
    right = [classifier.classify(images[0]).label == label for label, images in support.items()]
    assert sum(right) > 190


def test_an_adaptation_that_is_not_finite_is_named(tiny: MetaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    support = photos({"a": 2, "b": 2})
    adapt = Graphs.adapt

    def overflow(self: Graphs, *arguments: Any) -> Any:
        state, losses = adapt(self, *arguments)
        return {**state, "weight": state["weight"] * np.float32("inf")}, losses

    with monkeypatch.context() as patch:
        patch.setattr(Graphs, "adapt", overflow)
        message = refusal(lambda: tiny.adapt(support, 7), DataError)
    assert "the adaptation diverged ('weight' is not finite after 7 steps)" in message
    with monkeypatch.context() as patch:
        patch.setattr(Graphs, "embed", lambda self, images: np.full((len(images), 48), np.nan, np.float32))
        assert "is not finite" in refusal(lambda: tiny.adapt(support), DataError)


@pytest.mark.parametrize("label", ["", "two\nlines"])
def test_a_label_that_no_bundle_can_hold_is_refused_at_once(label: str, tiny: MetaModel) -> None:
    with pytest.raises(DataError, match="cannot be a class name"):
        tiny.adapt({label: photos({"a": 1})["a"], "b": photos({"b": 1})["b"]})


# Bundles that a forger or a careless exporter made


def test_a_regression_bundle_takes_no_classes(tmp_path: Path) -> None:
    path = variant(tmp_path / "regression.edge", task="regression", golden=None)
    assert "is a regression model, which knows no classes" in refusal(
        lambda: load_model(path).adapt(photos({"a": 1, "b": 1})), BundleError
    )


def test_a_backbone_of_another_size_than_the_manifests_is_named(tmp_path: Path) -> None:
    path = variant(tmp_path / "forged.edge", feature_size=47, golden=None)
    message = refusal(lambda: load_model(path, "cpu").adapt(photos({"a": 1, "b": 1})), BundleError)
    assert "embed.onnx gives features as float32 [1, 48] where float32 [1, 47] is due" in message


def test_a_graph_in_anothers_place_is_named(tmp_path: Path) -> None:
    bundle = Bundle.open(TINY)
    graphs = bundle.graphs()
    for name, other in (("embed.onnx", "adapt.onnx"), ("adapt.onnx", "predict.onnx"), ("predict.onnx", "embed.onnx")):
        path = variant(tmp_path / "swapped.edge", graphs={**graphs, name: graphs[other]})
        message = refusal(lambda path=path: _adapt_and_classify(path), BundleError)  # type: ignore[misc]
        assert f"{path}: {name} takes" in message and "expected" in message


def _adapt_and_classify(path: Path) -> None:
    support = photos({"a": 1, "b": 1})  # which leaves no shot out
    load_model(path, "cpu").adapt(support).classify(support["a"][0])


@pytest.mark.parametrize(
    ("graph", "change", "expected"),
    [
        ("embed.onnx", lambda outputs: [outputs[0].astype(np.float64)], "features as float64 [1, 48]"),
        ("embed.onnx", lambda outputs: [outputs[0][:0]], "features as float32 [0, 48] where float32 [1, 48]"),
        ("embed.onnx", lambda outputs: [outputs[0][..., None]], "features as float32 [1, 48, 1]"),
        ("adapt.onnx", lambda outputs: [*outputs[:2], outputs[2].sum()], "losses as float32 [] where float32 [any]"),
        ("predict.onnx", lambda outputs: [outputs[0][0]], "logits as float32 [2] where float32 [1, any]"),
        ("predict.onnx", lambda outputs: [outputs[0][:, :1]], "no finite logits for 2 classes"),
        ("predict.onnx", lambda outputs: [outputs[0] * np.float32("nan")], "no finite logits for 2 classes"),
    ],
)
def test_outputs_that_the_format_does_not_allow_are_named(
    graph: str, change: Callable[[list[Any]], list[Any]], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Session.run

    def changed(self: Session, feeds: Mapping[str, Any]) -> list[Any]:
        outputs = run(self, feeds)
        return change(outputs) if self._name.endswith(graph) else outputs

    monkeypatch.setattr(Session, "run", changed)
    message = refusal(lambda: _adapt_and_classify(TINY), BundleError)
    assert str(TINY) in message and expected in message


def test_a_head_that_does_not_fit_the_model_is_named(classifier: Classifier, tmp_path: Path) -> None:
    state = classifier.adaptation.head_state
    image = photos({"a": 1})["a"][0]
    for changed, expected in (
        ({**state, "weight": state["weight"][:, :-1]}, "predict.onnx cannot be run"),
        ({**state, "bias": state["bias"][:2]}, "predict.onnx cannot be run"),
        ({"weight": state["weight"][:2], "bias": state["bias"][:2]}, "gives no finite logits for 3 classes"),
        ({**state, "weight": state["weight"].astype(np.int64)}, "predict.onnx cannot be run"),
    ):
        adapted = dataclasses.replace(classifier.adaptation, head_state=changed)
        path = variant(tmp_path / "forged.edge", adaptation=adapted)
        assert expected in refusal(lambda path=path: load_classifier(path, "cpu").classify(image), BundleError)  # type: ignore[misc]


def test_head_state_that_adapt_does_not_give_is_named(tmp_path: Path) -> None:
    path = variant(tmp_path / "forged.edge", head_state=("weight", "memory"), golden=None)
    message = refusal(lambda: load_model(path, "cpu").adapt(photos({"a": 1, "b": 1})), BundleError)
    assert "adapt.onnx gives no 'memory'" in message
