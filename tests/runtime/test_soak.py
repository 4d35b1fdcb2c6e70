"""A classifier that answers for long from many threads, and one that is opened again and again: memory does not grow."""

from __future__ import annotations

import mmap
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_adapt.runtime.model import load_classifier, load_model
from tests.conftest import TINY
from tests.tiny_model import photos

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has in memory"),
]

GROWTH = 5 * 1024**2


def in_memory() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * mmap.PAGESIZE


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    load_model(TINY).adapt(photos({"a": 3, "b": 3, "c": 3})).save(tmp_path / "mine.edge")
    return tmp_path / "mine.edge"


def test_eight_threads_answer_ten_thousand_times_as_one_does(mine: Path) -> None:
    classifier = load_classifier(mine)
    images = [image for of_label in photos({"a": 20, "b": 20, "c": 20}, seed=1).values() for image in of_label]
    expected = [classifier.classify(image) for image in images]

    def ask(count: int, first: int) -> bool:
        return all(
            classifier.classify(images[index % len(images)]) == expected[index % len(images)]
            for index in range(first, first + count)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, [1_000] * 8, range(8)))
        before = in_memory()
        assert all(pool.map(ask, [9_000] * 8, range(8)))
        assert in_memory() - before < GROWTH


@pytest.mark.parametrize("trust", ["known", "unknown"])
def test_a_thousand_openings_leave_nothing_in_memory(mine: Path, trust: str) -> None:
    image = photos({"a": 1}, seed=1)["a"][0]
    counts = {"known": (100, 1_000), "unknown": (10, 60)}[trust]
    before = 0
    for index in range(counts[1]):
        if index == counts[0]:
            before = in_memory()
        load_classifier(mine, threads=1, trust="unknown" if trust == "unknown" else "known").classify(image)
    assert in_memory() - before < GROWTH
