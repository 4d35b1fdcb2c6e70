"""The committed photos of the gauge are what their script renders, and read what their CSV says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime.regressor.table import open_table
from edge_adapt.samples.gauge.render_gauges import HERE, MOST, SIZE, render

SETS = {"support": (10, 10), "query": (20, 20)}


@pytest.mark.parametrize("name", SETS)
def test_committed_photos_are_what_the_script_renders(name: str, tmp_path: Path) -> None:
    render(tmp_path / name, *SETS[name])
    ours, theirs = open_table(HERE / f"{name}.csv"), open_table(tmp_path / f"{name}.csv")
    assert (ours.names, ours.values) == (theirs.names, theirs.values) == (("bar",), ours.values)
    for one, other in zip(ours.files, theirs.files, strict=True):
        committed, rendered = (np.asarray(Image.open(file.stored_in), np.float64) for file in (one, other))
        assert committed.shape == (SIZE, SIZE, 3)
        assert np.abs(committed - rendered).mean() < 3  # fonts and JPEG differ between versions of Pillow


def test_values_cover_the_scale_and_the_folder_is_small() -> None:
    for name, (count, _) in SETS.items():
        values = np.sort([value for (value,) in open_table(HERE / f"{name}.csv").values])
        assert len(values) == count and (np.floor(values / MOST * count) == np.arange(count)).all()
    assert sum(path.stat().st_size for path in HERE.rglob("*.jpg")) < 1_000_000
