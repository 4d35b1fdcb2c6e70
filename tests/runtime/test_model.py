"""The device's side of the product, on tests/data/tiny.edge: no PyTorch, no onnx."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.runtime import leave_one_out as leave_one_out_module
from edge_adapt.runtime import model as model_module
from edge_adapt.runtime.bundle import Adapted, Bundle, Manifest, write_bundle
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError, ImageError
from edge_adapt.runtime.images import preprocess
from edge_adapt.runtime.leave_one_out import folds
from edge_adapt.runtime.model import (
    Classifier,
    Graphs,
    MetaModel,
    load,
    load_classifier,
    load_model,
    model_names,
)
from edge_adapt.runtime.self_check import self_check
from edge_adapt.runtime.sessions import Session
from tests import reference
from tests.conftest import TINY
from tests.data import make_tiny

Photos = dict[str, list[NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def tiny() -> MetaModel:
    """The meta-model."""
    return load_model(TINY, "cpu")


def photos(counts: Mapping[str, int], seed: int = 0, noise: float = 25) -> Photos:
    """Noisy 8x8 colour images; a class is a picture."""
    random = np.random.default_rng(seed)
    patterns = {
        label: np.random.default_rng(index).integers(40, 216, (8, 8, 3)) for index, label in enumerate("abcdefgh")
    }
    return {
        label: [
            np.clip(patterns[label] + random.normal(0, noise, (8, 8, 3)), 0, 255).astype(np.uint8) for _ in range(count)
        ]
        for label, count in counts.items()
    }


UNEQUAL = {"a": 1, "b": 4, "c": 2}


@pytest.fixture(scope="module")
def classifier(tiny: MetaModel) -> Classifier:
    """Adapted to three classes of unequal counts."""
    return tiny.adapt(photos(UNEQUAL))


def variant(
    path: Path, adapted: Adapted | None = None, graphs: Mapping[str, bytes] | None = None, **changes: Any
) -> Path:
    """A bundle that differs from tiny.edge in these fields of its manifest, or in its graphs; returns `path`."""
    bundle = Bundle.open(TINY)
    manifest: Manifest = dataclasses.replace(bundle.manifest, **changes)
    write_bundle(path, manifest, graphs or {name: bundle.graph(name) for name in bundle.manifest.graphs}, adapted)
    return path


def refusal(start: Callable[[], object], kind: type[EdgeAdaptError]) -> str:
    """The one sentence that a refusal says."""
    with pytest.raises(kind) as caught:
        start()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in message and message.endswith(".")
    return message


# What adapting gives


def test_the_graphs_compute_what_numpy_computed(tiny: MetaModel) -> None:
    assert max(self_check(tiny.graphs).values()) < 1e-5
    images = np.random.default_rng(3).integers(0, 256, (70, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(tiny.graphs.embed(images), make_tiny.embed(images), rtol=1e-6, atol=1e-7)
    assert tiny.graphs.embed(images[:0]).shape == (0, make_tiny.FEATURE_SIZE)


@pytest.mark.parametrize("steps", [None, 0, 1, 50])
def test_adapting_is_the_heads_inner_loop_on_the_sorted_classes(tiny: MetaModel, steps: int | None) -> None:
    given_photos = photos({"c": 2, "a": 1, "b": 4})
    classifier = tiny.adapt(given_photos, steps)
    count = make_tiny.STEPS if steps is None else steps
    features = np.concatenate([make_tiny.embed(np.stack(given_photos[label])) for label in "abc"])
    labels = np.repeat([0, 1, 2], [1, 4, 2])
    weight, bias, losses = reference.adapt(
        features,
        labels,
        3,
        count,
        scale=make_tiny.SCALE,
        rates=make_tiny.RATES,
        bias_rate=make_tiny.BIAS_RATE,
    )
    adapted = classifier.adapted
    assert classifier.labels == adapted.labels == ("a", "b", "c")
    assert adapted.steps == count and len(adapted.losses) == count
    np.testing.assert_allclose(adapted.head_state["weight"], weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(adapted.head_state["bias"], bias, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(adapted.losses, losses, rtol=1e-4)
    assert adapted.support_targets.tolist() == labels.tolist()
    assert [shot.label for shot in adapted.shots] == labels.tolist()


@settings(max_examples=25, deadline=None)
@given(st.permutations("abcd"), st.randoms(use_true_random=False))
def test_the_order_of_classes_and_images_does_not_matter(order: list[str], random: Any) -> None:
    tiny = load_model(TINY, "cpu")
    support = photos({"a": 3, "b": 1, "c": 5, "d": 2})
    expected = tiny.adapt(support).adapted
    shuffled = {label: random.sample(support[label], len(support[label])) for label in order}
    found = tiny.adapt(shuffled).adapted
    assert found.labels == expected.labels and found.losses == expected.losses
    assert found.leave_one_out == expected.leave_one_out and found.shots == expected.shots
    for name, array in expected.head_state.items():
        assert found.head_state[name].tobytes() == array.tobytes()
    assert found.support_features.tobytes() == expected.support_features.tobytes()


def test_the_same_picture_under_two_names_gives_the_same_file_in_any_order(tiny: MetaModel, tmp_path: Path) -> None:
    (image,) = photos({"a": 1})["a"]
    for name in ("first.png", "second.png"):
        Image.fromarray(image).save(tmp_path / name)
    other = photos({"b": 2})["b"]
    files = [tmp_path / "first.png", tmp_path / "second.png"]
    tiny.adapt({"a": files, "b": other}).save(tmp_path / "one.edge")
    tiny.adapt({"b": other[::-1], "a": files[::-1]}).save(tmp_path / "two.edge")
    assert (tmp_path / "one.edge").read_bytes() == (tmp_path / "two.edge").read_bytes()


def test_an_image_is_a_path_bytes_a_picture_or_an_array(tiny: MetaModel, tmp_path: Path) -> None:
    support = photos({"a": 2, "b": 2})
    expected = tiny.adapt(support)
    stream = io.BytesIO()
    Image.fromarray(support["a"][0]).save(stream, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(stream.getvalue())
    for image in (path, str(path), stream.getvalue(), Image.fromarray(support["a"][0]), support["a"][0]):
        assert expected.classify(image) == expected.classify(support["a"][0])
    from_files = tiny.adapt({"a": [path, support["a"][1]], "b": iter(support["b"])})
    assert path.name in [shot.name for shot in from_files.adapted.shots]
    for query in photos({"a": 3, "b": 3}, seed=1)["b"]:
        assert from_files.classify(query).scores == pytest.approx(expected.classify(query).scores, rel=1e-5)


def test_an_image_in_another_size_and_mode_is_brought_to_the_models(classifier: Classifier) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 4)).astype(np.uint8)
    for image in (Image.fromarray(pixels), Image.fromarray(pixels[..., 0]), Image.fromarray(pixels).convert("P")):
        brought = preprocess(image, make_tiny.PREPROCESSING)
        assert brought.shape == (8, 8, 3)
        assert classifier.classify(image) == classifier.classify(brought)


def test_new_images_of_the_classes_are_recognized(classifier: Classifier) -> None:
    for label, queries in photos({"a": 20, "b": 20, "c": 20}, seed=5).items():
        assert [prediction.label for prediction in classifier.classify_all(queries)] == [label] * 20


# What classifying gives


def test_scores_are_the_softmax_of_the_logits(classifier: Classifier) -> None:
    queries = photos({"a": 3, "b": 3, "c": 3}, seed=2, noise=90)
    state = classifier.adapted.head_state
    for image in (image for of_label in queries.values() for image in of_label):
        prediction = classifier.classify(image)
        logits = make_tiny.embed(image[None]).astype(float)[0] @ state["weight"].T.astype(float) + state["bias"]
        expected = np.exp(reference.log_softmax(logits))
        scores = prediction.scores
        assert [scores[label] for label in classifier.labels] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)
        assert sum(scores.values()) == pytest.approx(1, abs=1e-12)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        assert prediction.confidence == max(scores.values()) == scores[prediction.label]
        assert prediction.label == next(iter(scores))


def test_an_image_is_classified_alone_as_among_many(classifier: Classifier) -> None:
    queries = [
        image for of_label in photos({"a": 50, "b": 50, "c": 35}, seed=3, noise=90).values() for image in of_label
    ]
    together = classifier.classify_all(queries)
    assert len(together) == 135  # more than go through the backbone at once
    for image, among_many in zip(queries, together, strict=True):
        alone = classifier.classify(image)
        assert alone.label == among_many.label
        assert alone.scores == pytest.approx(among_many.scores, rel=1e-4, abs=1e-9)
    assert classifier.classify_all(iter(())) == []


def test_huge_logits_give_probabilities(classifier: Classifier) -> None:
    state = {name: array * np.float32(1e6) for name, array in classifier.adapted.head_state.items()}
    prediction = Classifier(classifier.graphs, classifier.labels, state).classify(photos({"b": 1})["b"][0])
    assert prediction.confidence == 1.0 and sum(prediction.scores.values()) == 1.0


# The leave-one-out estimate


@pytest.mark.parametrize("seed", range(4))
def test_leave_one_out_is_adapting_without_each_shot_in_turn(tiny: MetaModel, seed: int) -> None:
    support = photos({"a": 1, "b": 4, "c": 3, "d": 5}, seed, noise=120)
    right, tried = 0, 0
    for label, images in support.items():
        if len(images) == 1:
            continue
        for left_out in range(len(images)):
            rest = {**support, label: [image for index, image in enumerate(images) if index != left_out]}
            right += tiny.adapt(rest).classify(images[left_out]).label == label
            tried += 1
    estimate = tiny.adapt(support).adapted.leave_one_out
    assert estimate == right / tried
    assert 0 < right < tried  # a set on which the estimate could be wrong


def test_a_classifier_says_which_files_it_saw_and_not_where_they_lay(tiny: MetaModel, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    paths: dict[str, list[Path]] = {}
    for label, (pixels,) in photos({"a": 1, "b": 1}).items():
        paths[label] = [folder / f"{label}\n1.png"]
        Image.fromarray(pixels).save(paths[label][0])
    tiny.adapt(paths).save(tmp_path / "mine.edge")
    assert [shot.name for shot in load_classifier(tmp_path / "mine.edge").adapted.shots] == ["a?1.png", "b?1.png"]
    assert b"private" not in (tmp_path / "mine.edge").read_bytes()


@pytest.mark.parametrize("label", ["", "two\nlines"])
def test_a_label_that_no_bundle_can_hold_is_refused_at_once(label: str, tiny: MetaModel) -> None:
    with pytest.raises(DataError, match="cannot be a class name"):
        tiny.adapt({label: photos({"a": 1})["a"], "b": photos({"b": 1})["b"]})


def test_there_is_no_estimate_where_every_class_has_one_shot(tiny: MetaModel) -> None:
    assert tiny.adapt(photos({"a": 1, "b": 1})).adapted.leave_one_out is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30))
def test_folds_are_spread_over_all_shots_that_can_be_spared(shots: list[int], most: int) -> None:
    labels = np.repeat(np.arange(len(shots)), shots)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leave_one_out_module, "MAX_FOLDS", most)
        found = folds(labels).tolist()
    candidates = [index for index, label in enumerate(labels) if shots[label] > 1]
    assert len(found) <= most
    assert found == (candidates[:: candidates.index(found[1])] if len(found) > 1 else candidates[:1])
    if len(candidates) <= most:
        assert found == candidates
    assert 2 * len(found) >= min(most, len(candidates))


def test_a_large_support_set_is_estimated_from_some_of_its_shots(
    tiny: MetaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    adapt = Graphs.adapt

    def count(self: Graphs, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return adapt(self, *arguments)

    monkeypatch.setattr(Graphs, "adapt", count)
    monkeypatch.setattr(leave_one_out_module, "MAX_FOLDS", 5)
    adapted = tiny.adapt(photos({"a": 6, "b": 7})).adapted
    assert calls == 1 + 5 and adapted.leave_one_out is not None


# Files


def test_a_saved_classifier_is_the_same_classifier(classifier: Classifier, tmp_path: Path) -> None:
    path, again = tmp_path / "mine.edge", tmp_path / "again.edge"
    classifier.save(path)
    loaded = load(path, "cpu")
    assert isinstance(loaded, Classifier)
    assert loaded.labels == classifier.labels and loaded.manifest.name == "tiny"
    for queries in photos({"a": 4, "b": 4, "c": 4}, seed=4, noise=90).values():
        assert loaded.classify_all(queries) == classifier.classify_all(queries)
    assert (loaded.adapted.shots, loaded.adapted.losses) == (classifier.adapted.shots, classifier.adapted.losses)
    assert loaded.adapted.leave_one_out == classifier.adapted.leave_one_out
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    loaded.save(path)  # over the file that it was loaded from
    assert path.read_bytes() == again.read_bytes()
    Bundle.open(path).verify()


def test_a_classifier_opens_without_its_support_set(classifier: Classifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "mine.edge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bundle, "adapted", lambda self: pytest.fail("the support set was read"))
        load_classifier(tmp_path / "mine.edge", "cpu").classify(photos({"a": 1})["a"][0])


def test_a_file_of_the_other_kind_is_named(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "mine.edge"
    classifier.save(path)
    assert "adapted classifier where a meta-model is needed" in refusal(lambda: load_model(path), BundleError)
    assert "meta-model that knows no classes yet" in refusal(lambda: load_classifier(TINY), BundleError)
    assert str(path) in refusal(lambda: load_model(path), BundleError)


def test_bundled_models_are_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "MODELS", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("characters", "animals"):
        (tmp_path / f"{name}.edge").write_bytes(TINY.read_bytes())
    (tmp_path / "notes.txt").write_text("no model")
    assert model_names() == ("animals", "characters")
    assert load_model("animals").graphs.bundle.path == tmp_path / "animals.edge"
    message = refusal(lambda: load("plants"), BundleError)
    assert message == "plants is neither a file nor a bundled model (animals, characters)."
    for name in ("plants.edge", "./plants", str(tmp_path / "plants")):
        assert "does not exist" in refusal(lambda name=name: load(name), BundleError)  # type: ignore[misc]


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


# Bundles that a forger or a careless exporter made


def test_a_regression_bundle_is_not_adapted_yet(tmp_path: Path) -> None:
    path = variant(tmp_path / "regression.edge", task="regression", golden=None)
    assert "adapts classification only" in refusal(
        lambda: load_model(path).adapt(photos({"a": 1, "b": 1})), BundleError
    )


def test_a_backbone_of_another_size_than_the_manifests_is_named(tmp_path: Path) -> None:
    path = variant(tmp_path / "forged.edge", feature_size=47, golden=None)
    message = refusal(lambda: load_model(path, "cpu").adapt(photos({"a": 1, "b": 1})), BundleError)
    assert "embed.onnx gives features as float32 [2, 48] where float32 [2, 47] is due" in message


def test_a_graph_in_anothers_place_is_named(tmp_path: Path) -> None:
    bundle = Bundle.open(TINY)
    graphs = {name: bundle.graph(name) for name in bundle.manifest.graphs}
    for name, other in (("embed.onnx", "adapt.onnx"), ("adapt.onnx", "predict.onnx"), ("predict.onnx", "embed.onnx")):
        path = variant(tmp_path / "swapped.edge", graphs={**graphs, name: graphs[other]})
        message = refusal(lambda path=path: _adapt_and_classify(path), BundleError)  # type: ignore[misc]
        assert f"{path}: {name} takes" in message and "expected" in message


def _adapt_and_classify(path: Path) -> None:
    support = photos({"a": 2, "b": 2})
    load_model(path, "cpu").adapt(support).classify(support["a"][0])


@pytest.mark.parametrize(
    ("graph", "change", "expected"),
    [
        ("embed.onnx", lambda outputs: [outputs[0].astype(np.float64)], "features as float64 [4, 48]"),
        ("embed.onnx", lambda outputs: [outputs[0][:1]], "features as float32 [1, 48] where float32 [4, 48]"),
        ("embed.onnx", lambda outputs: [outputs[0][..., None]], "features as float32 [4, 48, 1]"),
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
    monkeypatch.setattr(model_module, "leave_one_out", lambda *_: None)
    message = refusal(lambda: _adapt_and_classify(TINY), BundleError)
    assert str(TINY) in message and expected in message


def test_a_head_that_does_not_fit_the_model_is_named(classifier: Classifier, tmp_path: Path) -> None:
    state = classifier.adapted.head_state
    image = photos({"a": 1})["a"][0]
    for changed, expected in (
        ({**state, "weight": state["weight"][:, :-1]}, "predict.onnx cannot be run"),
        ({**state, "bias": state["bias"][:2]}, "predict.onnx cannot be run"),
        ({"weight": state["weight"][:2], "bias": state["bias"][:2]}, "gives no finite logits for 3 classes"),
        ({**state, "weight": state["weight"].astype(np.int64)}, "predict.onnx cannot be run"),
    ):
        adapted = dataclasses.replace(classifier.adapted, head_state=changed)
        path = variant(tmp_path / "forged.edge", adapted=adapted)
        assert expected in refusal(lambda path=path: load_classifier(path, "cpu").classify(image), BundleError)  # type: ignore[misc]


def test_head_state_that_adapt_does_not_give_is_named(tmp_path: Path) -> None:
    path = variant(tmp_path / "forged.edge", head_state=("weight", "memory"), golden=None)
    message = refusal(lambda: load_model(path, "cpu").adapt(photos({"a": 1, "b": 1})), BundleError)
    assert "adapt.onnx gives no 'memory'" in message
