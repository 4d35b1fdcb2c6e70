"""Short runs of what `python -m tests.fuzz.bundles`, `images` and `archives` go on with by the thousand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("onnx")

from tests.fuzz import archives, bundles, images, readers
from tests.fuzz.attempts import Fuzzer, attempt, damaged
from tests.fuzz.image_parts import LAYOUTS


@pytest.fixture(scope="module")
def of_images() -> dict[str, Fuzzer]:
    return images.fuzzers(largest=500)


def outcomes(fuzzer: Fuzzer, folder: Path) -> set[str]:
    """What came of some files, all of it as it should be."""
    found = set()
    for index in range(40):
        file = folder / f"{index}{fuzzer.suffix}"
        file.write_bytes(fuzzer.hostile(random.Random(f"short {index}")))
        result = attempt(fuzzer.use, file)
        assert not result.fault, index
        found.add(result.outcome)
    return found


def test_hostile_bundles_load_or_are_refused_in_one_sentence(tmp_path: Path) -> None:
    assert {"loads", "refused"} <= outcomes(bundles.fuzzer(), tmp_path)  # it reaches what lies behind the digests


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", LAYOUTS)
def test_hostile_images_are_classified_or_refused_in_one_sentence(
    kind: str, of_images: dict[str, Fuzzer], tmp_path: Path
) -> None:
    if kind not in of_images:
        pytest.skip("what reads and writes this format is not installed")
    assert outcomes(of_images[kind], tmp_path) == {"classified", "refused"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("use", "done"), [("read", "read"), ("adapt", "adapted")])
def test_hostile_zips_are_read_or_refused_in_one_sentence(use: str, done: str, tmp_path: Path) -> None:
    assert outcomes(archives.fuzzers()[use], tmp_path) == {done, "refused"}


@pytest.mark.parametrize(("number", "name"), list(enumerate(readers.sound())))
def test_each_reader_reads_what_is_sound_and_refuses_the_rest(number: int, name: str) -> None:
    uses, choose = readers.readers(), random.Random(name)
    for data in readers.sound()[name]:
        uses[name](data)
        for _ in range(100):
            readers.read(list(uses.values()), bytes([number]) + damaged(data, choose))
