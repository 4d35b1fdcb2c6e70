"""The device's side of the product, on tests/data/tiny.edge: no PyTorch, no onnx."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime import model as model_module
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.preprocessing import preprocess
from edge_adapt.runtime.model import MetaModel, load, load_classifier, load_model, models
from edge_adapt.runtime.self_check import self_check
from tests import reference
from tests.conftest import TINY
from tests.data import make_tiny
from tests.tiny_model import photos, predictions, refusal

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
        **make_tiny.HEAD,
    )
    adapted = classifier.adaptation
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
    expected = tiny.adapt(support).adaptation
    shuffled = {label: random.sample(support[label], len(support[label])) for label in order}
    found = tiny.adapt(shuffled).adaptation
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
    assert path.name in [shot.name for shot in from_files.adaptation.shots]
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
        assert [prediction.label for prediction in predictions(classifier, queries)] == [label] * 20


# What classifying gives


def test_scores_are_the_softmax_of_the_logits(classifier: Classifier) -> None:
    queries = photos({"a": 3, "b": 3, "c": 3}, seed=2, noise=90)
    state = classifier.adaptation.head_state
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
    together = predictions(classifier, queries)
    assert len(together) == 135  # more than go through the backbone at once
    for image, among_many in zip(queries, together, strict=True):
        alone = classifier.classify(image)
        assert alone.label == among_many.label
        assert alone.scores == pytest.approx(among_many.scores, rel=1e-4, abs=1e-9)
    assert predictions(classifier, iter(())) == []


def test_huge_logits_give_probabilities(classifier: Classifier) -> None:
    state = {name: array * np.float32(1e6) for name, array in classifier.adaptation.head_state.items()}
    prediction = Classifier(classifier.graphs, state, classifier.adaptation).classify(photos({"b": 1})["b"][0])
    assert prediction.confidence == 1.0 and sum(prediction.scores.values()) == 1.0


# Files


def test_a_saved_classifier_is_the_same_classifier(classifier: Classifier, tmp_path: Path) -> None:
    path, again = tmp_path / "mine.edge", tmp_path / "again.edge"
    classifier.save(path)
    loaded = load(path, "cpu")
    assert isinstance(loaded, Classifier)
    assert loaded.labels == classifier.labels and loaded.manifest.name == "tiny"
    for queries in photos({"a": 4, "b": 4, "c": 4}, seed=4, noise=90).values():
        assert predictions(loaded, queries) == predictions(classifier, queries)
    assert (loaded.adaptation.shots, loaded.adaptation.losses) == (
        classifier.adaptation.shots,
        classifier.adaptation.losses,
    )
    assert loaded.adaptation.leave_one_out == classifier.adaptation.leave_one_out
    loaded.save(again)
    assert again.read_bytes() == path.read_bytes()
    loaded.save(path)  # over the file that it was loaded from
    assert path.read_bytes() == again.read_bytes()
    Bundle.open(path).verify()


def test_a_classifier_opens_without_its_support_set(classifier: Classifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "mine.edge")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bundle, "adaptation", lambda self: pytest.fail("the support set was read"))
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
    assert models() == ("animals", "characters")
    assert load_model("animals").graphs.bundle.path == tmp_path / "animals.edge"
    message = refusal(lambda: load("plants"), BundleError)
    assert message == "plants is neither a file nor a bundled model (animals, characters)."
    for name in ("plants.edge", "./plants", str(tmp_path / "plants")):
        assert "does not exist" in refusal(lambda name=name: load(name), BundleError)  # type: ignore[misc]


def test_a_classifier_says_which_files_it_saw_and_not_where_they_lay(tiny: MetaModel, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    paths: dict[str, list[Path]] = {}
    for label, (pixels,) in photos({"a": 1, "b": 1}).items():
        paths[label] = [folder / f"{label}\n1.png"]
        Image.fromarray(pixels).save(paths[label][0])
    tiny.adapt(paths).save(tmp_path / "mine.edge")
    assert [shot.name for shot in load_classifier(tmp_path / "mine.edge").adaptation.shots] == ["a?1.png", "b?1.png"]
    assert b"private" not in (tmp_path / "mine.edge").read_bytes()
