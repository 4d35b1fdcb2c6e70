"""A data set that is yet to be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.data.source import DataSource
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.gratings import gratings, write_images

PREPROCESSING = Preprocessing(12, 12, 1)


def test_a_source_reads_what_load_dataset_reads(tmp_path: Path) -> None:
    path = write_images(tmp_path / "data", gratings(3, 4, size=12))
    (tmp_path / "classes.txt").write_text("grating 00\ngrating 02\n")
    source = DataSource(path, [tmp_path / "classes.txt"], rotations=True, cache=tmp_path / "cache", skip_bad=True)
    data = source.load(PREPROCESSING)
    expected = load_dataset(path, PREPROCESSING, [tmp_path / "classes.txt"], rotations=True)
    assert data.class_names == expected.class_names and len(data.class_names) == 8
    np.testing.assert_array_equal(data.images, expected.images)
    assert any((tmp_path / "cache").iterdir())
    assert source.files == (path, tmp_path / "classes.txt")


def test_a_path_is_all_of_it(tmp_path: Path) -> None:
    assert DataSource.of(tmp_path) == DataSource(tmp_path)
    source = DataSource(tmp_path, skip_bad=True)
    assert DataSource.of(source) is source
