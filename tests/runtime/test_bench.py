"""What a model costs: what is measured and of what. No figure is judged here."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import edge_adapt
from edge_adapt.runtime import bench as module
from edge_adapt.runtime.bench import adapt_to_frames, bench
from edge_adapt.runtime.bundle.bundle import Bundle, write_bundle
from edge_adapt.runtime.child import in_child
from edge_adapt.runtime.errors import BundleError, ProviderError
from edge_adapt.runtime.model import load_classifier, load_model
from edge_adapt.runtime.sessions import Provider, available
from tests import child_functions
from tests.child_functions import in_this_process
from tests.conftest import TINY
from tests.tiny_model import photos
from tests.value_photos import bars

VALUES = np.array([0.1, 0.4, 0.6, 0.8])
WHAT = ["embed, 1 image", "embed, 25 support images", "adapt, features given", "query, 1 image"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.01)
    monkeypatch.setattr(module, "_STARTS", 2)


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (4, [1, 2, 4])])
def test_a_meta_model_is_measured_at_one_two_and_all_threads(
    cores: int, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.setattr(module, "in_child", in_this_process)
    measured = bench(TINY, provider="cpu")
    assert [(entry.what, entry.threads) for entry in measured.latencies] == [
        (what, count) for count in counts for what in WHAT
    ]
    for entry in (*measured.latencies, measured.cold_start):
        assert 0 < entry.median <= entry.p95 and entry.calls >= 2
    assert (measured.n_way, measured.support_images, measured.steps, measured.synthetic) == (5, 25, 3, True)
    assert (measured.file, measured.size) == (str(TINY), TINY.stat().st_size)
    assert measured.provider == "CPUExecutionProvider"


def test_a_classifier_is_measured_with_its_own_support_set(tmp_path: Path) -> None:
    load_model(TINY, "cpu").adapt(photos({"a": 1, "b": 4, "c": 2}), steps=7).save(tmp_path / "mine.edge")
    before = (tmp_path / "mine.edge").read_bytes()
    measured = edge_adapt.bench(tmp_path / "mine.edge", provider="cpu")
    assert (measured.n_way, measured.support_images, measured.steps, measured.synthetic) == (3, 7, 7, False)
    assert (tmp_path / "mine.edge").read_bytes() == before
    assert measured.cold_start.median > max(entry.median for entry in measured.latencies)


def test_what_reads_values_is_measured_with_its_own_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "in_child", in_this_process)
    load_model(TINY, "cpu").regress(bars(VALUES), VALUES).save(tmp_path / "tank.edge")
    measured = edge_adapt.bench(tmp_path / "tank.edge", provider="cpu")
    assert (measured.n_way, measured.support_images, measured.steps, measured.synthetic) == (0, 4, 20, False)
    assert {entry.what for entry in measured.latencies} == set(WHAT)


@pytest.mark.parametrize(
    ("most_ways", "most_support", "found"), [(3, None, (3, 15)), (None, 12, (5, 10)), (2, 3, (2, 2))]
)
def test_what_is_made_up_keeps_to_the_limits_of_the_model(
    most_ways: int | None, most_support: int | None, found: tuple[int, int], tmp_path: Path
) -> None:
    bundle = Bundle.open(TINY)
    graphs = {name: bundle.graph(name) for name in ("embed.onnx", "adapt.onnx", "predict.onnx")}
    limited = replace(bundle.manifest, max_ways=most_ways, max_support=most_support)
    write_bundle(tmp_path / "limited.edge", limited, graphs)
    adapt_to_frames(str(tmp_path / "limited.edge"), "cpu", str(tmp_path / "mine.edge"))
    mine = load_classifier(tmp_path / "mine.edge")
    assert (len(mine.labels), len(mine.support.targets)) == found


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none\.edge does not exist"):
        bench(tmp_path / "none.edge")
    absent = next(provider for provider in get_args(Provider)[1:] if provider not in available())
    with pytest.raises(ProviderError, match=f"the provider {absent} is not in the ONNX Runtime"):
        bench(TINY, provider=absent)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say")
def test_peak_memory_counts_what_was_held_and_not_what_the_parent_holds() -> None:
    little, much = (in_child(child_functions.memory_with, mebibytes).value for mebibytes in (0, 100))
    assert 0.9 * 100 * 2**20 < much - little < 1.3 * 100 * 2**20
    if sys.platform == "linux":
        held = bytearray(b"\1" * (250 * 2**20))
        assert in_child(child_functions.memory_with, 0).value < len(held)
