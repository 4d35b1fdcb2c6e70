"""Whatever a graph does, it does it in the child, and the parent says one sentence."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edge_adapt.runtime.errors import BundleError, ProviderError
from edge_adapt.runtime.model import MetaModel, load, load_model
from edge_adapt.runtime.sandbox.process import Child, Limits
from edge_adapt.runtime.sessions import Session
from tests.conftest import TINY
from tests.runtime.sandbox.hostile_graphs import HOSTILE, sound
from tests.tiny_model import photos

X = {"x": np.ones(4, np.float32)}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_kills_hangs_or_takes_all_memory_is_refused_or_contained(name: str) -> None:
    child, started = Child(1000, limits=Limits(seconds=1)), time.monotonic()
    try:
        child.session(HOSTILE[name](), "x.edge: embed.onnx", ["x"]).run(X)
    except BundleError as error:
        message = str(error)
        assert message.startswith("x.edge: embed.onnx") and "\n" not in message and len(message) <= 500
    assert time.monotonic() - started < 5


def test_a_graph_that_takes_too_long_is_stopped_and_its_child_is_gone() -> None:
    child = Child(1000, limits=Limits(seconds=0.5))
    session = child.session(HOSTILE["a loop without end"](), "x.edge: embed.onnx", ["x"])
    for _ in range(2):
        with pytest.raises(BundleError, match=r"^x\.edge: embed.onnx (took longer than 0.5 s|ended the process)"):
            session.run(X)


def test_an_answer_that_is_too_large_is_not_read() -> None:
    child = Child(1000, limits=Limits(answer=15))
    with pytest.raises(BundleError, match="gives more than it may"):
        child.session(sound(), "x.edge: embed.onnx", ["x"]).run(X)


def test_sessions_of_a_child_are_those_of_this_process() -> None:
    child = Child(1000)
    for shape in ((4,), (0,), (1000,)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        here, there = (make(sound(), "x.edge", ["x"]) for make in (Session, child.session))
        assert here.outputs == there.outputs and here.provider == there.provider
        for one, other in zip(here.run({"x": x}), there.run({"x": x}), strict=True):
            assert one.tobytes() == other.tobytes() and one.shape == other.shape


def test_errors_of_a_child_are_those_of_this_process() -> None:
    child = Child(1000)
    for make in (Session, child.session):
        with pytest.raises(BundleError, match=r"^x\.edge takes x where images are expected"):
            make(sound(), "x.edge", ["images"])
        with pytest.raises(BundleError, match=r"^x\.edge is refused by ONNX Runtime"):
            make(b"nothing", "x.edge", ["x"])
    assert child.session(sound(), "x.edge", ["x"]).run(X)


def test_a_model_of_a_stranger_adapts_and_classifies_as_one_of_ones_own(tiny: MetaModel, tmp_path: Path) -> None:
    shots = photos({"a": 3, "b": 3})
    own, strange = (load_model(TINY, trust=trust).adapt(shots) for trust in ("known", "unknown"))
    assert own.support.features.tobytes() == strange.support.features.tobytes()
    one, other = (mine.classify(shots["a"][0]) for mine in (own, strange))
    assert one == other
    strange.save(tmp_path / "mine.edge")
    again = load(tmp_path / "mine.edge", trust="unknown")
    assert not isinstance(again, MetaModel) and again.classify(shots["a"][0]) == one


def test_a_stranger_gets_no_accelerator() -> None:
    with pytest.raises(ProviderError, match="runs on the CPU alone"):
        load(TINY, "cuda", trust="unknown")
