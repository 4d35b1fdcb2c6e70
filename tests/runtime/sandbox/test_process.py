"""Whatever a graph does, it does it in the child, and the parent says one sentence."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import BundleError, ProviderError
from edge_adapt.runtime.model import MetaModel, load, load_model
from edge_adapt.runtime.sandbox import process
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


def test_an_interrupted_question_takes_its_answer_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next one would be answered with it."""
    child = Child(1000)
    session = child.session(sound(), "x.edge: embed.onnx", ["x"])

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(process, "read_frame", interrupted)
        session.run(X)
    with pytest.raises(BundleError, match="ended the process"):
        session.run(X)


def runs(pid: int) -> bool:
    """Whether a process is there, and is not one that ended and waits for its parent to ask how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_child_ends_by_itself_where_its_parent_is_gone(tmp_path: Path) -> None:
    (tmp_path / "endless.onnx").write_bytes(HOSTILE["a loop without end"]())
    code = """
import sys
import numpy as np
from edge_adapt.runtime.sandbox import process
from edge_adapt.runtime.sandbox.process import Child, Limits
child = Child(1000, limits=Limits(seconds=1))
session = child.session(open(sys.argv[1], "rb").read(), "x.edge", ["x"])
print(child._process.pid, flush=True)
session.run({"x": np.ones(4, np.float32)})
"""
    command = [sys.executable, "-c", code, str(tmp_path / "endless.onnx")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)  # it is at work
        parent.kill()
    assert runs(pid)
    deadline = time.monotonic() + 20
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not runs(pid)


def test_a_child_that_lies_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(1000)
    for lie in (b'{"arrays": [{"dtype": "float32", "shape": [Infinity]}]}', b'{"arrays": [], "outputs": [3]}'):
        frame = io.BytesIO(len(lie).to_bytes(8, "little") + lie)
        with monkeypatch.context() as patch, pytest.raises(BundleError, match="do without this file"):
            patch.setattr(process, "_stream", lambda stream, frame=frame: frame)
            child.session(sound(), "x.edge", ["x"])


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
    assert isinstance(again, Classifier) and again.classify(shots["a"][0]) == one


def test_a_stranger_gets_no_accelerator() -> None:
    with pytest.raises(ProviderError, match="runs on the CPU alone"):
        load(TINY, "cuda", trust="unknown")
