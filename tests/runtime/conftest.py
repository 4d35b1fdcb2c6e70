"""What several tests of the runtime share."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.model import MetaModel, load_model
from tests.conftest import TINY
from tests.tiny_model import photos


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a test puts a bundle that it damages; a module's, because Hypothesis fills it many times."""
    return tmp_path_factory.mktemp("hostile") / "mine.edge"


@pytest.fixture(scope="module")
def tiny() -> MetaModel:
    """The meta-model."""
    return load_model(TINY, "cpu")


@pytest.fixture(scope="module")
def classifier(tiny: MetaModel) -> Classifier:
    """Adapted to three classes of unequal counts."""
    return tiny.adapt(photos({"a": 1, "b": 4, "c": 2}))
