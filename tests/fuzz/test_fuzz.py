"""Short runs of what `python -m tests.fuzz.bundles`, `images` and `archives` go on with by the thousand."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx")

from tests.fuzz import archives, bundles, images
from tests.fuzz.attempts import Fuzzer, try_many
from tests.fuzz.image_parts import LAYOUTS


@pytest.fixture(scope="module")
def of_images() -> dict[str, Fuzzer]:
    return images.fuzzers()


def test_hostile_bundles_load_or_are_refused_in_one_sentence() -> None:
    report = try_many(bundles.fuzzer(), 60, "short")
    assert not report.faults
    assert {"loads", "refused"} <= report.outcomes.keys()  # it reaches what lies behind the digests


@pytest.mark.parametrize("kind", LAYOUTS)
def test_hostile_images_are_classified_or_refused_in_one_sentence(kind: str, of_images: dict[str, Fuzzer]) -> None:
    if kind not in of_images:
        pytest.skip("what reads and writes this format is not installed")
    report = try_many(of_images[kind], 60, "short")
    assert not report.faults
    assert report.outcomes.keys() == {"classified", "refused"}


@pytest.mark.parametrize("use", archives.fuzzers())
def test_hostile_zips_are_read_or_refused_in_one_sentence(use: str) -> None:
    report = try_many(archives.fuzzers()[use], 60, "short")
    assert not report.faults
    assert len(report.outcomes) == 2
