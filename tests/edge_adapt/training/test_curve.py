"""The picture of a run's metrics."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("torch")

from edge_adapt.training.checkpoint import load_checkpoint
from edge_adapt.training.curve import draw


def test_the_curve_of_a_run_is_drawn(trained_run: Path) -> None:
    with Image.open(io.BytesIO(draw(load_checkpoint(trained_run)))) as curve:
        assert curve.format == "PNG" and curve.size == (800, 500)
        assert len(curve.convert("RGB").getcolors(1 << 24) or []) > 10
