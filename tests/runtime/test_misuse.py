"""Programs that call the device's API with what it cannot take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_adapt.runtime.bundle.bundle import Bundle, write_bundle
from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError
from edge_adapt.runtime.model import MetaModel, load_classifier, load_model
from tests.conftest import TINY

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
    assert load_classifier(tmp_path / "mine.edge").adapted.steps == 2
    half: Any = 2.5
    with pytest.raises(TypeError):
        tiny.adapt(SUPPORT, half)


def test_a_regression_model_is_named_and_not_run(tmp_path: Path) -> None:
    bundle = Bundle.open(TINY)
    path = tmp_path / "regression.edge"
    manifest = replace(bundle.manifest, task="regression", golden=None)
    write_bundle(path, manifest, {name: bundle.graph(name) for name in manifest.graphs})
    graphs = load_model(path, "cpu").graphs
    features = np.zeros((2, manifest.feature_size), np.float32)
    for run in (lambda: graphs.adapt(features, np.arange(2), 2, 1), lambda: graphs.predict(features, {})):
        with pytest.raises(BundleError, match="is a regression model"):
            run()
