"""The progress bar, on a terminal and elsewhere, with a clock of its own."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from edge_adapt.runtime.progress import Progress


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds, which pass when told to."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("edge_adapt.runtime.progress.time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr("edge_adapt.runtime.progress.sys", SimpleNamespace(stderr=terminal))
    return terminal


def test_a_terminal_shows_bar_rate_and_time_left(terminal: Terminal, clock: Clock) -> None:
    with Progress("reading photos", 200, "images") as bar:
        assert terminal.getvalue() == ""
        clock.seconds += 10
        bar.advance(50, "cats")
        line = terminal.getvalue()
        assert line.startswith("\rreading photos [######------------------]  25%  5 images/s  0:30 left  cats")
        clock.seconds += 0.05
        bar.advance(50)
        assert terminal.getvalue() == line  # too soon to draw again
        clock.seconds += 3665
        bar.advance(100)
    last = terminal.getvalue().rsplit("\r", 1)[1]
    assert last.startswith("reading photos [########################] 100%  0.0544 images/s  in 1:01:15")
    assert terminal.getvalue().endswith("\n") and terminal.getvalue().count("\n") == 1


def test_a_shorter_line_erases_the_longer_one(terminal: Terminal, clock: Clock) -> None:
    with Progress("training", 4) as bar:
        for note in ("a long note about this step", "short"):
            clock.seconds += 1
            bar.advance(1, note)
    assert all(part.rstrip("\n").endswith("\x1b[K") for part in terminal.getvalue().split("\r")[1:])


def test_elsewhere_there_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with Progress("reading", 100, "images") as bar:
        for _ in range(100):
            clock.seconds += 1
            bar.advance()
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "reading:   0%" and lines[-1] == "reading: 100%  1 images/s  in 1:40"
    assert lines[1] == "reading:  30%  1 images/s  1:10 left"
    assert len(lines) == 5
    assert "\r" not in shown.err and "\x1b" not in shown.err


def test_a_resumed_run_begins_where_it_was_and_counts_its_own_rate(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with Progress("meta-training", 1000, "steps", done=900) as bar:
        clock.seconds += 40
        bar.advance(40)
        clock.seconds += 60
        bar.advance(60)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "meta-training:  90%",
        "meta-training:  94%  1 steps/s  1:00 left",
        "meta-training: 100%  1 steps/s  in 1:40",
    ]


def test_what_fails_does_not_claim_to_be_done(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with pytest.raises(KeyError), Progress("reading", 2):
        raise KeyError
    assert capsys.readouterr().err == "reading:   0%\n"


def test_a_failure_on_a_terminal_leaves_the_line(terminal: Terminal, clock: Clock) -> None:
    with pytest.raises(KeyError), Progress("reading", 2) as bar:
        clock.seconds += 1
        bar.advance()
        raise KeyError
    assert terminal.getvalue().endswith("\n") and " 50%" in terminal.getvalue()


@pytest.mark.parametrize("total", [0, 1])
def test_nothing_to_do_is_done(total: int, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with Progress("reading", total) as bar:
        bar.advance(5)  # more than was announced
    assert capsys.readouterr().err.splitlines()[-1].startswith("reading: 100%")


def test_large_rates_are_readable(terminal: Terminal, clock: Clock) -> None:
    with Progress("reading", 10**7, "images") as bar:
        clock.seconds += 1
        bar.advance(1234567)
    assert "1,234,567 images/s" in terminal.getvalue()


def test_silence_is_silent_and_needs_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_adapt.runtime.progress.sys", SimpleNamespace(stderr=None))  # as under pythonw
    with Progress("reading", 2, show=False) as bar:
        bar.advance(2)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599.9, "1:00:00"), (7325, "2:02:05")]
)
def test_clock(seconds: float, expected: str, render: Callable[[float], str]) -> None:
    assert render(seconds) == expected


@pytest.fixture
def render(terminal: Terminal, clock: Clock) -> Callable[[float], str]:
    """How long a piece of work took, as shown at its end."""

    def work(seconds: float) -> str:
        with Progress("working", 1) as bar:
            clock.seconds += seconds
            bar.advance()
        return terminal.getvalue().rsplit("in ", 1)[1].removesuffix("\x1b[K\n")

    return work


def test_without_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    with Progress("reading", 2, "images") as bar:
        bar.advance()
