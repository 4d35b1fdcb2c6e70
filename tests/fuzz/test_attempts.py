"""The fuzzers see each kind of fault, and what they cut up and put together is the same file."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.tree import zip_tree
from tests.child_functions import harm
from tests.fuzz.archives import sound_entries, zip_of
from tests.fuzz.attempts import Fuzzer, try_many
from tests.fuzz.image_parts import LAYOUTS
from tests.fuzz.images import sound_images


@pytest.mark.skipif(os.name != "posix", reason="reads the peak of memory as Unix has it")
@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("refuse", ""),
        ("die", "the process ended with status -9"),
        ("hold", "held "),
        ("raise", "ZeroDivisionError: one by zero"),
        ("say", r"says '\x1b[31m is red.'"),
        ("prattle", "says 'xxx"),
    ],
)
def test_a_fault_is_seen_and_its_file_kept(what: str, fault: str, tmp_path: Path) -> None:
    def make(choose: random.Random) -> bytes:
        return what.encode("ascii")

    report = try_many(Fuzzer(".txt", make, harm, most=300, threads=2), 2, "s", tmp_path / "kept")
    assert sum(report.outcomes.values()) == 2
    if not fault:
        assert not report.faults and report.outcomes == {"refused": 2}
        return
    assert report.faults.keys() == {0, 1} and all(fault in found for found in report.faults.values())
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["s-0.txt", "s-1.txt"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", LAYOUTS)
def test_an_image_that_is_cut_into_parts_and_put_together_shows_the_same(kind: str) -> None:
    for data in sound_images(largest=500).get(kind, []):
        again = LAYOUTS[kind].join(LAYOUTS[kind].split(data))
        np.testing.assert_array_equal(np.asarray(load_image(again).image), np.asarray(load_image(data).image))


def test_a_zip_whose_records_are_true_is_read(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(zip_of(sound_entries()))
    tree = zip_tree(tmp_path / "photos.zip")
    assert {folder: len(sources) for folder, sources in tree.items()} == {
        "": 0,
        "photos": 0,
        "photos/a": 3,
        "photos/b": 3,
    }
    for sources in tree.values():
        for source in sources.values():
            assert source.read is not None and source.read().startswith(b"\x89PNG")
