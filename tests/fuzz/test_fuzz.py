"""A short run of what `python -m tests.fuzz.bundles` goes on with by the thousand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("onnx")

from tests.fuzz.bundles import fault_of, hostile, sound_classifier


def test_hostile_bundles_load_or_are_refused_in_one_sentence(tmp_path: Path) -> None:
    sound, outcomes = sound_classifier(), set()
    for index in range(60):
        (tmp_path / "hostile.edge").write_bytes(hostile(sound, random.Random(f"short {index}")))
        outcome, fault = fault_of(tmp_path / "hostile.edge")
        assert not fault, index
        outcomes.add(outcome)
    assert {"loads", "refused"} <= outcomes  # it reaches what lies behind the digests
