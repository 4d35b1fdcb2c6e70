"""Ctrl-C and SIGTERM are heard at the end of an outer step, a second one at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edge_adapt.training import distributed
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.outer_step import OuterStep
from edge_adapt.training.stopping import stop_requests
from tests.training_runs import Configure, assert_same_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """The handlers of a program that has set none."""
    before = [signal.getsignal(number) for number in BOTH]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in zip(BOTH, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_a_request_is_noted_and_the_next_answered_at_once(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with stop_requests() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()
        assert "stopping at the end of this step; once more stops at once" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(each) for each in BOTH] == [signal.default_int_handler, signal.SIG_DFL]


def test_who_handles_signals_goes_on_to_do_so() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    with stop_requests() as asked:
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT] and not asked()


def test_another_thread_hears_none() -> None:
    asked = []

    def elsewhere() -> None:
        with stop_requests() as ask:
            asked.append(ask())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert asked == [False]


def test_of_several_processes_the_first_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    for first in (True, False):
        monkeypatch.setattr(distributed, "is_first", lambda first=first: first)
        with stop_requests() as asked:
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # as torchrun says that another one has ended
            signal.raise_signal(signal.SIGINT)
            assert asked() == first


def test_the_step_is_kept_and_the_run_goes_on_as_if_it_had_not_been_stopped(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_adapt.training.trainer.CHECKPOINT_SECONDS", 60)
    config, compute = tiny_config(iterations=5), OuterStep.compute
    whole = brief(config, "whole")

    def stopped_in_the_third(self: OuterStep, iteration: int, *arguments: object) -> object:
        if iteration == 2:
            signal.raise_signal(signal.SIGINT)
        return compute(self, iteration, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OuterStep, "compute", stopped_in_the_third)
        brief(config)
    assert load_checkpoint(tmp_path / "run").iteration == 3
    assert_same_run(brief(config, resume=True), whole)
