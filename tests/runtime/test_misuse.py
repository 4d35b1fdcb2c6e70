"""Programs that call the device's API with what it cannot take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.errors import DataError, EdgeAdaptError, ImageError
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import MetaModel, load_classifier, load_model
from tests.conftest import TINY
from tests.tiny_model import variant

SUPPORT = {label: [np.full((8, 8, 3), 60 * index, np.uint8)] for index, label in enumerate("abc")}


@pytest.mark.parametrize("image", ["a.jpg", Path("a.jpg"), b"\xff\xd8\xff"])
def test_one_image_where_a_list_is_due(image: Any, tiny: MetaModel) -> None:
    with pytest.raises(DataError, match=r"^class 'cat' is given one image where a list of images is due\.$"):
        tiny.adapt({"dog": ["b.jpg"], "cat": image})


@pytest.mark.parametrize("label", [0, None, ("a", "b")])
def test_a_class_name_that_is_no_text(label: Any, tiny: MetaModel) -> None:
    with pytest.raises(DataError, match="cannot be a class name"):
        tiny.adapt({**SUPPORT, label: SUPPORT["a"]})


@pytest.mark.parametrize("steps", [-1, MAX_STEPS + 1, 10**30])
def test_steps_that_would_not_end(steps: int, tiny: MetaModel) -> None:
    with pytest.raises(EdgeAdaptError, match=f"^{steps} steps are not possible; give 0 or more, {MAX_STEPS} at most"):
        tiny.adapt(SUPPORT, steps)


def test_steps_are_a_whole_number(tiny: MetaModel, tmp_path: Path) -> None:
    numpy_steps: Any = np.int64(2)
    tiny.adapt(SUPPORT, numpy_steps).save(tmp_path / "mine.edge")
    assert load_classifier(tmp_path / "mine.edge").adaptation.steps == 2
    half: Any = 2.5
    with pytest.raises(EdgeAdaptError, match=r"^2\.5 steps are not possible; give a whole number"):
        tiny.adapt(SUPPORT, half)


def test_a_path_in_place_of_images_says_what_takes_a_folder(tiny: MetaModel) -> None:
    folder: Any = "photos"
    with pytest.raises(DataError, match=r"^'photos' is not a mapping .* call edge_adapt\.adapt\.$"):
        tiny.adapt(folder)


def test_an_image_that_is_none_is_named_by_its_class_and_number(tiny: MetaModel) -> None:
    wrong: Any = {**SUPPORT, "late": [SUPPORT["a"][0], SUPPORT["a"][0].astype(np.float32)]}
    with pytest.raises(ImageError, match=r"^image 2 of class 'late' is an array of float32 \[8, 8, 3\]"):
        tiny.adapt(wrong)


def test_steps_are_refused_by_a_model_that_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    from tests.metric_heads import protonet

    heads = protonet(48).graphs(48)
    bundle = Bundle.open(TINY)
    graphs = {"embed.onnx": bundle.graph("embed.onnx"), "adapt.onnx": heads.adapt, "predict.onnx": heads.predict}
    path = variant(tmp_path / "protonet.edge", graphs=graphs, head_state=heads.state, default_steps=0, golden=None)
    model = load_model(path, "cpu")
    assert not model.graphs.takes_steps and load_model(TINY, "cpu").graphs.takes_steps
    assert model.adapt(SUPPORT, 0).adaptation.losses == ()
    monkeypatch.setattr(Graphs, "embed", lambda *_: pytest.fail("an image was embedded first"))
    with pytest.raises(EdgeAdaptError, match="takes no gradient steps; leave the number of steps out"):
        model.adapt(SUPPORT, 3)


def test_in_place_of_an_image_that_cannot_be_classified_is_the_error(tiny: MetaModel) -> None:
    mine = tiny.adapt(SUPPORT)
    good, bad = SUPPORT["a"][0], b"no image"
    first, second, third = mine.classify_all([good, bad, good])
    assert first == third == mine.classify(good)
    assert isinstance(second, ImageError) and str(second).startswith("image 2 is not an image")


def test_what_is_shown_of_models_is_short(tiny: MetaModel, tmp_path: Path) -> None:
    mine = tiny.adapt(SUPPORT)
    assert repr(tiny) == f"<MetaModel 'tiny': {TINY}>"
    assert repr(mine) == f"<Classifier of 'tiny': {', '.join(SUPPORT)}>"
    assert repr(mine.support) == f"<SupportSet: {len(SUPPORT)} classes, {sum(map(len, SUPPORT.values()))} images>"
