"""The benchmarks of the choice of a model and of printed characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import model_choice, strokes
from benchmarks.frozen_graph import FrozenGraph
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.images.folders import open_folder
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY


def test_features_of_a_frozen_graph_have_length_1(tmp_path: Path) -> None:
    (tmp_path / "embed.onnx").write_bytes(Bundle.open(TINY).graph("embed.onnx"))
    graph = FrozenGraph(str(tmp_path / "embed.onnx"))
    assert graph.preprocessing == Preprocessing(8, 8, 3)
    features = graph.embed(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8))
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


def test_a_graph_that_is_no_extractor_of_square_photos_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(load_model("characters").graphs.bundle.path)
    for name, error in (("embed.onnx", EdgeAdaptError), ("predict.onnx", BundleError)):
        (tmp_path / name).write_bytes(bundle.graph(name))
        with pytest.raises(error, match=name):
            FrozenGraph(str(tmp_path / name))


def test_printed_characters_are_of_fonts_that_have_them_and_of_the_style_asked_for() -> None:
    matplotlib = pytest.importorskip("matplotlib")  # brings fonts that every machine then has
    fonts = Path(matplotlib.get_data_path()) / "fonts"
    faces = strokes.faces(fonts)
    assert {"A", "Γ", "Ж"} & set(faces) and "א" not in faces
    for character, of_character in faces.items():
        assert len(of_character) >= strokes.LEAST
        assert all(strokes.has_glyph(path, character) for path in of_character)
    known = strokes.families(fonts)
    family = {path: name for name, paths in known.items() for path in paths}
    assert len({family[path] for path in faces["A"]}) == len(faces["A"])
    ink, chalk, thick, outline = (strokes.pictures({"A": faces["A"]}, style)["A"] for style in strokes.STYLES)
    for first, negative, second, third in zip(ink, chalk, thick, outline, strict=True):
        assert first.size == (strokes.SIDE, strokes.SIDE)
        np.testing.assert_array_equal(255 - np.asarray(negative), np.asarray(first))
        dark = [int((np.asarray(image) < 128).sum()) for image in (first, second, third)]
        assert dark[1] > dark[0] and dark[2] != dark[0] and dark[2] > 0


def test_outcomes_of_equal_models_and_what_a_rule_loses(photos: Path) -> None:
    graphs = load_model(TINY, provider="cpu").graphs
    models = {"characters": graphs, "photos": graphs}
    for label in ("dark", "bright"):
        for shot in range(3, 10):
            (photos / label / f"{shot}.png").write_bytes((photos / label / f"{shot % 3}.png").read_bytes())
    classes = model_choice.from_folders(models, photos)
    assert [len(of.support) for of in classes] == [5, 5]
    outcome = model_choice.adapted(models, classes, np.random.default_rng(0))
    assert set(outcome.taken.values()) == {"photos"}
    assert outcome.accuracies["photos"] == outcome.accuracies["characters"] == 1
    mixed = [
        model_choice.Outcome({"characters": 0.5, "photos": of_photos}, dict.fromkeys(model_choice.RULES, "characters"))
        for of_photos in (0.4, 0.5, 0.51, 0.7)
    ]
    assert model_choice.summary(mixed, "adapt") == ["50.0", "75.0", "5.25"]


def test_train_and_test_files_are_support_and_queries(photos: Path) -> None:
    files = list(open_folder(photos).classes["dark"])
    assert model_choice.halved(files) == (files[:1], files[1:])
    for number, name in enumerate(("train_0.png", "test_1.png", "train_2.png")):
        (photos / "dark" / f"{number}.png").rename(photos / "dark" / name)
    test, *train = open_folder(photos).classes["dark"]
    assert model_choice.halved([*train, test]) == (train, [test])
    image = model_choice.opened(test, negative=True)
    np.testing.assert_array_equal(255 - np.asarray(image), np.asarray(Image.open(photos / "dark" / "test_1.png")))
