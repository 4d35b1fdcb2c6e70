"""The library of runtime/web against the runtime in Python: the same numbers from the same pixels, and one format."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.bundle.card import Priors
from edge_adapt.runtime.checking import check
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.prediction import Prediction
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from edge_adapt.runtime.images.views import PHOTO_VIEWS
from edge_adapt.runtime.model import MODELS, MetaModel, load, load_classifier, load_model
from tests import bundle_samples
from tests.conftest import TINY
from tests.tiny_model import photos, variant
from tests.value_photos import bars
from tests.web_program import OnnxRuntime, Program, build, needs_web

pytestmark = needs_web

PRIORS = Priors(0.7, -0.3, 0.1, -1.0, 0.2)


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """What is tested is what the sources say now."""
    build()


@pytest.fixture(params=get_args(OnnxRuntime))
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    return Program(tmp_path, request.param)


@pytest.fixture
def node(tmp_path: Path) -> Program:
    """Where it makes no difference what runs the graphs."""
    return Program(tmp_path, "onnxruntime-node")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MetaModel:
    """tiny.edge with all that a manifest can say: priors, views, a part and a ground."""
    preprocessing = Preprocessing(height=8, width=8, channels=3, part=0.9, ground="light")
    path = tmp_path_factory.mktemp("model") / "model.edge"
    return load_model(
        variant(path, priors=PRIORS, support_views=PHOTO_VIEWS, preprocessing=preprocessing, golden=None), "cpu"
    )


@pytest.fixture(scope="module")
def edited(model: MetaModel) -> Classifier:
    """Adapted, edited and in part undone, with photos of no class and a name that needs care."""
    mine = model.adapt(photos({"a": 3, "b": 2, "c": 1}) | {"z\u00e4hler \U0001f600": photos({"e": 2})["e"]})
    mine = mine.add(OTHER, photos({"g": 2})["g"]).add("d", photos({"d": 2})["d"]).rename("b", "\uff5e tilde")
    return mine.correct(photos({"a": 4})["a"][3], never="a").undo()


def random_images(seed: int, count: int, side: int = 60) -> list[NDArray[np.uint8]]:
    """Pictures [H, W, 3] of all sizes up to a side, half of them smooth."""
    random = np.random.default_rng(seed)
    images = []
    for number in range(count):
        height, width = random.integers(1, side, 2)
        image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        images.append(image if number % 2 else np.asarray(Image.fromarray(image[:5, :5]).resize((width, height))))
    return images


def test_the_same_pixels_are_preprocessed_to_the_last_bit(node: Program) -> None:
    random = np.random.default_rng(0)
    cases = []
    for image in random_images(1, 150, 200):
        alpha = random.choice([0, 3, 128, 254, 255], (*image.shape[:2], 1)).astype(np.uint8)
        pixels = np.concatenate([image, alpha], axis=2) if random.random() < 0.5 else image
        height, width = (int(side) for side in random.integers(1, 90, 2))
        part, ground = float(random.choice([1, 0.1, 0.875, 0.333])), str(random.choice(["any", "light"]))
        if int(PIL.__version__.partition(".")[0]) < 13 and len(image) - height > 2 * (image.shape[1] - width):
            continue  # before, Pillow began with rows here too: see runtime/web/src/images/resize.ts
        cases.append((pixels, Preprocessing(height, width, int(random.choice([1, 3])), part=part, ground=ground)))
    found = node.does(
        *(
            {"do": "preprocess", "image": node.image(pixels), "preprocessing": dataclasses.asdict(preprocessing)}
            for pixels, preprocessing in cases
        )
    )
    for (pixels, preprocessing), answer in zip(cases, found, strict=True):
        expected = preprocess(Image.fromarray(pixels), preprocessing)
        assert base64.b64decode(answer) == expected.tobytes(), preprocessing


@pytest.mark.parametrize("name", ["characters", "tiny"])
def test_features_head_state_and_logits_agree(program: Program, name: str, tmp_path: Path) -> None:
    path = TINY if name == "tiny" else MODELS / f"{name}.edge"
    model = load_model(path, "cpu")
    images = rgba(random_images(2, 7))
    shots = {label: images[2 * index : 2 * index + 2] for index, label in enumerate("abc")}
    numbers = [program.image(image) for image in images]
    given = {label: numbers[2 * index : 2 * index + 2] for index, label in enumerate("abc")}
    mine, saved = model.adapt(shots, 20), tmp_path / "web.edge"
    _, plain, as_shot, losses, _, logits = program.does(
        {"do": "open", "path": path},
        {"do": "embed", "image": 6},
        {"do": "embed", "image": 0, "asShot": True},
        {"do": "adapt", "images": given, "steps": 20},
        {"do": "save", "path": saved},
        {"do": "logits", "path": saved, "image": 6},
    )
    expected = embedded(model, images[6])
    np.testing.assert_allclose(plain, expected, atol=1e-4)
    web = load_classifier(saved, "cpu")
    assert any(np.allclose(as_shot, image.features, atol=1e-4) for image in mine.support.images)
    np.testing.assert_allclose(losses, mine.adaptation.losses, atol=1e-4)
    np.testing.assert_allclose(web.support.features, mine.support.features, atol=1e-4)
    for tensor, array in mine.adaptation.head_state.items():
        np.testing.assert_allclose(web.adaptation.head_state[tensor], array, atol=1e-4)
    due = mine.graphs.predict(expected[None], dict(mine.adaptation.head_state))[0]
    np.testing.assert_allclose(logits, due, atol=1e-4)


def test_features_in_8_bits_differ_where_two_integers_are_equally_near(program: Program) -> None:
    """See docs/quantization.md: the same holds between processors."""
    model, images = load_model("photos-small", "cpu"), random_images(2, 5)
    _, *found = program.does(
        {"do": "open", "path": MODELS / "photos-small.edge"},
        *({"do": "embed", "image": program.image(image)} for image in images),
    )
    for features, image in zip(found, images, strict=True):
        assert float(np.array(features) @ embedded(model, image)) > 0.998  # both have length 1


def embedded(model: MetaModel, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = preprocess(Image.fromarray(image), model.manifest.preprocessing)
    features: NDArray[np.float32] = model.graphs.embed(pixels[None])[0]
    return features


def test_golden_vectors_hold(program: Program) -> None:
    for path in (TINY, MODELS / "characters.edge"):
        _, errors = program.does({"do": "open", "path": path}, {"do": "selfCheck"})
        assert max(errors.values()) < 1e-5


def assert_agree(found: list[dict[str, Any]], expected: list[Prediction | EdgeAdaptError]) -> None:
    for answer, prediction in zip(found, expected, strict=True):
        assert isinstance(prediction, Prediction)
        assert (answer["label"], answer["known"]) == (prediction.label, prediction.known)
        assert answer["confidence"] == pytest.approx(prediction.confidence, abs=1e-4)
        assert answer["familiarity"] == pytest.approx(prediction.familiarity, abs=1e-4)
        assert answer["scores"] == pytest.approx(dict(prediction.scores), abs=1e-4)


def test_a_thousand_answers_agree(program: Program, edited: Classifier, tmp_path: Path) -> None:
    edited.save(tmp_path / "mine.edge")
    queries = random_images(3, 400, 24)
    queries += [image for found in photos(dict.fromkeys("abcdeg", 100), 4, 60).values() for image in found]
    numbers = [program.image(image) for image in queries]
    familiar = [answer.familiarity for answer in edited.classify_all(queries) if isinstance(answer, Prediction)]
    unknown_at = float(np.median(np.array(familiar, np.float64)))  # between two of them, so that half are unknown
    _, answers, all_known = program.does(
        {"do": "open", "path": tmp_path / "mine.edge"},
        {"do": "classify", "images": numbers, "unknownAt": unknown_at},
        {"do": "classify", "images": numbers[:3], "unknownAt": 0},
    )
    assert_agree(answers, edited.classify_all(queries, unknown_at=unknown_at))
    known = sum(answer["known"] for answer in answers)
    assert len(answers) == 1000 and known == 500
    assert all(answer["known"] and answer["familiarity"] is None for answer in all_known)


def test_what_is_opened_and_saved_is_the_same_file(node: Program, edited: Classifier, tmp_path: Path) -> None:
    gauge = load_model(TINY, "cpu").regress(bars(np.linspace(0.1, 0.9, 5)), np.linspace(1, 9, 5), ["litres"])
    once = load_model(TINY, "cpu").adapt(photos({"a": 1, "b": 2}))
    for number, mine in enumerate((edited, edited.strip(), once, once.strip(), gauge)):
        path, again = tmp_path / f"{number}.edge", tmp_path / "again.edge"
        mine.save(path)
        node.does({"do": "open", "path": path}, {"do": "save", "path": again})
        assert again.read_bytes() == path.read_bytes()


def test_equal_features_make_the_same_file_up_to_rounding(
    program: Program, model: MetaModel, edited: Classifier, tmp_path: Path
) -> None:
    fresh = model.adapt({"a": photos({"a": 3})["a"], "b": photos({"b": 2})["b"], OTHER: photos({"g": 1})["g"]})
    path, web = tmp_path / "python.edge", tmp_path / "web.edge"
    fresh.save(path)
    program.does(
        {"do": "open", "path": model.graphs.bundle.path},
        {"do": "adaptAs", "path": path},
        {"do": "save", "path": web},
    )
    one, other = Bundle.open(path), Bundle.open(web)
    assert one.sizes.keys() == other.sizes.keys()
    for entry in one.sizes:
        if not entry.startswith("head/") and entry != "classifier.json":
            assert one.entry(entry) == other.entry(entry)
    for name, array in one.head_state().items():
        np.testing.assert_allclose(other.head_state()[name], array, atol=1e-6)
    expected, found = (bundle.record._replace(arrays={}, losses=(), self_knowledge=None) for bundle in (one, other))
    assert found == expected
    assert other.record.losses == pytest.approx(one.record.losses, abs=1e-6)
    known, due = other.record.self_knowledge, one.record.self_knowledge
    assert known is not None and due is not None
    assert dataclasses.astuple(known) == pytest.approx(dataclasses.astuple(due), rel=1e-5)


def test_each_side_edits_and_undoes_what_the_other_saved(node: Program, model: MetaModel, tmp_path: Path) -> None:
    shots, more = photos({"a": 3, "b": 3, "c": 2}), photos({"a": 2, "d": 2}, 7)
    begun, went_on, ended = (tmp_path / f"{name}.edge" for name in ("begun", "went_on", "ended"))
    mine = model.adapt(shots).add("d", more["d"])
    mine.save(begun)
    given = [node.image(image) for image in more["a"]]
    node.does(
        {"do": "open", "path": begun},
        {"do": "edit", "verb": "undo"},
        {"do": "add", "label": "a", "images": given},
        {"do": "edit", "verb": "merge", "given": [["b", "c"], "bc"]},
        {"do": "correct", "image": given[0], "right": {"not": "a"}},
        {"do": "correct", "image": given[1], "right": "bc"},
        {"do": "edit", "verb": "remove", "given": ["a", mine.support.images[0].sha256[:12]]},
        {"do": "save", "path": went_on},
    )
    web = load_classifier(went_on, "cpu")
    expected = mine.undo().add("a", rgba(more["a"])).merge(["b", "c"], "bc").correct(rgba(more["a"])[0], never="a")
    expected = expected.correct(rgba(more["a"])[1], "bc").remove("a", mine.support.images[0].sha256[:12])
    assert described(web) == described(expected)
    assert web.history.done == 5 and [edit.what for edit in web.history.edits] == [
        edit.what for edit in expected.history.edits
    ]
    back = web
    for _ in range(5):
        back = back.undo()
    assert described(back) == described(model.adapt(shots))
    for name, array in model.adapt(shots).adaptation.head_state.items():
        np.testing.assert_allclose(back.adaptation.head_state[name], array, atol=1e-5)
    web.undo().undo().save(began_again := tmp_path / "began_again.edge")
    node.does(
        {"do": "open", "path": began_again},
        {"do": "edit", "verb": "redo"},
        {"do": "edit", "verb": "redo"},
        {"do": "save", "path": ended},
    )
    assert described(load_classifier(ended, "cpu")) == described(web)


def rgba(images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """As the program sees them, and gives their SHA-256."""
    return [np.concatenate([image, np.full((*image.shape[:2], 1), 255, np.uint8)], axis=2) for image in images]


def described(classifier: Classifier) -> list[tuple[str, str, str]]:
    return [(image.label, image.name, image.sha256) for image in classifier.support.images]


def test_findings_and_estimates_agree(program: Program, model: MetaModel, tmp_path: Path) -> None:
    pictures = photos({"a": 9, "b": 2, "c": 1, "d": 2, "e": 2})
    pictures["b"].append(pictures["d"].pop())
    pictures["e"] = [*pictures["e"], pictures["e"][0] ^ np.uint8(1), pictures["a"][0]]
    mine, path = model.adapt(pictures), tmp_path / "mine.edge"
    mine.save(path)
    _, findings, estimate = program.does({"do": "open", "path": path}, {"do": "check"}, {"do": "estimate"})
    expected = [{**dataclasses.asdict(finding)} for finding in check(path, provider="cpu")]
    assert findings == [{**found, "classes": [*found["classes"]], "images": [*found["images"]]} for found in expected]
    assert len({found["kind"] for found in findings}) >= 4
    due = mine.estimate
    assert due is not None
    assert estimate["accuracy"] == pytest.approx(due.accuracy)
    assert estimate["interval"] == pytest.approx(due.interval)
    assert estimate["withTwice"] == pytest.approx(due.with_twice)
    assert (estimate["right"], estimate["leftOut"]) == (due.right, due.left_out)
    assert estimate["uncovered"] == [*due.uncovered]


def test_values_agree(program: Program, tmp_path: Path) -> None:
    values = np.linspace(0.05, 0.95, 8)
    gauge = load_model(TINY, "cpu").regress(bars(values), np.stack([values, 1 - values], axis=1), ["full", "empty"])
    gauge.save(tmp_path / "gauge.edge")
    queries = bars(np.linspace(0.1, 0.9, 5), 1)
    _, answers = program.does(
        {"do": "open", "path": tmp_path / "gauge.edge"},
        {"do": "predict", "images": [program.image(image) for image in queries]},
    )
    for answer, image in zip(answers, queries, strict=True):
        expected = gauge.predict(image)
        assert answer["values"] == pytest.approx(dict(expected.values), abs=1e-4)
        for name, interval in expected.intervals.items():
            assert answer["intervals"][name] == pytest.approx(interval, abs=1e-4)


def test_what_one_side_refuses_the_other_does_too(node: Program, edited: Classifier, tmp_path: Path) -> None:
    edited.save(tmp_path / "mine.edge")
    whole = (tmp_path / "mine.edge").read_bytes()
    golden = bundle_samples.GOLDEN_CLASSIFIER.read_bytes()
    random = np.random.default_rng(0)
    files = [whole[:cut] for cut in (0, 10, 30, 1000, len(whole) - 1)] + [whole + b"x", b"x" + whole]
    for data in (whole, golden):
        for place in random.integers(0, len(data), 150):
            damaged = bytearray(data)
            damaged[place] ^= 1 << random.integers(0, 8)
            files.append(bytes(damaged))
    paths = [tmp_path / f"{number}.edge" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    answers = node.does(*({"do": "open", "path": path} for path in paths))
    refused = 0
    for path, answer in zip(paths, answers, strict=True):
        try:
            loaded = load(path, "cpu")
            if isinstance(loaded, Classifier):
                loaded.adaptation  # noqa: B018  (read when it is first asked for)
                loaded.history  # noqa: B018
        except EdgeAdaptError as error:
            refused += 1
            assert answer["error"] == "BundleError", path
            assert answer["message"] == str(error)
        else:
            assert answer == "Classifier", path
    assert refused > 100


def test_what_cannot_be_done_is_said_in_one_sentence(node: Program, edited: Classifier, tmp_path: Path) -> None:
    edited.save(tmp_path / "mine.edge")
    image = node.image(photos({"a": 1})["a"][0])
    _, _, *answers = node.does(
        {"do": "open", "path": tmp_path / "mine.edge"},
        {"do": "edit", "verb": "redo"},
        {"do": "edit", "verb": "redo"},
        {"do": "edit", "verb": "remove", "given": ["nobody"]},
        {"do": "edit", "verb": "remove", "given": ["a", "nothing"]},
        {"do": "edit", "verb": "rename", "given": ["a", "c"]},
        {"do": "edit", "verb": "rename", "given": ["a", "two\nlines"]},
        {"do": "edit", "verb": "merge", "given": [["a"], "a"]},
        {"do": "correct", "image": image, "right": {"not": "nobody"}},
        {"do": "open", "path": TINY},
        {"do": "adapt", "images": {"a": [image]}},
        {"do": "adapt", "images": {"a": [image], "b": []}},
        {"do": "adapt", "images": {"a": [image], "b": [image]}, "steps": 0.5},
    )
    kinds = [answer["error"] if isinstance(answer, dict) else answer for answer in answers]
    assert kinds == ["DataError"] * 7 + ["MetaModel", "DataError", "DataError", "EdgeAdaptError"]
    for answer in answers:
        if isinstance(answer, dict):
            assert answer["message"].endswith(".") and "\n" not in answer["message"]
