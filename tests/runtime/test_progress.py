"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from edge_adapt.runtime import progress
from edge_adapt.runtime.progress import Progress


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state is shown, however soon."""
    for name in ("_MOMENT_SECONDS", "_REDRAW_SECONDS", "_LINE_SECONDS"):
        monkeypatch.setattr(progress, name, 0.0)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    return terminal


def test_a_terminal_shows_one_line_with_share_and_rate(terminal: Terminal) -> None:
    with Progress("reading photos", 200, "images") as bar:
        bar.advance(50, "cats")
        last = terminal.getvalue().rsplit("\r", 1)[1]
        assert last.startswith("reading photos:  25%|") and "images/s, cats]" in last
        bar.advance(150)
    assert "reading photos: 100%|" in terminal.getvalue().rsplit("\r", 1)[1]
    assert terminal.getvalue().endswith("\n") and terminal.getvalue().count("\n") == 1


def test_elsewhere_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 4, "images") as bar:
        bar.advance(1)
        bar.say("a word between")
        bar.advance(3, "the end")
    shown = capsys.readouterr()
    assert shown.out == "" and not {"\r", "\x1b", "|"} & set(shown.err)
    lines = [line.split(" [")[0] for line in shown.err.splitlines()]
    assert list(dict.fromkeys(lines)) == ["reading:   0%", "reading:  25%", "a word between", "reading: 100%"]
    assert shown.err.splitlines()[-1].endswith(", the end]")


def test_elsewhere_lines_are_far_apart(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 30.0)
    with Progress("reading", 1000) as bar:
        for _ in range(1000):
            bar.advance()
    assert [line.split(" [")[0] for line in capsys.readouterr().err.splitlines()] == ["reading:   0%", "reading: 100%"]


def test_the_rate_is_that_of_all_work_so_far(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((0.0, 4.0, 10.0))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr(progress, "_MOMENT_SECONDS", 5.0)
    with Progress("reading", 1000, "images") as bar:
        bar.advance(10)
        assert terminal.getvalue() == ""
        bar.advance(10)
    assert " 2.00images/s" in terminal.getvalue().rsplit("\r", 1)[1]


def test_a_word_on_a_terminal_stands_on_a_line_of_its_own(terminal: Terminal) -> None:
    with Progress("training", 2) as bar:
        bar.advance()
        bar.say("less memory")
        bar.advance()
    assert "\rless memory\n" in terminal.getvalue()
    assert "training: 100%|" in terminal.getvalue().split("less memory")[1]


def test_a_resumed_run_begins_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("meta-training", 1000, "steps", done=900) as bar:
        bar.advance(40)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("meta-training:  90%") and lines[-1].startswith("meta-training:  94%")


def test_what_fails_does_not_claim_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), Progress("reading", 2) as bar:
        bar.advance()
        raise KeyError
    assert capsys.readouterr().err.splitlines()[-1].startswith("reading:  50%")


def test_work_of_a_moment_shows_nothing_and_needs_no_tqdm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_MOMENT_SECONDS", 60.0)
    monkeypatch.setitem(sys.modules, "tqdm", None)  # importing it is an error
    with Progress("reading", 2) as bar:
        bar.advance(2)
    assert capsys.readouterr().err == ""


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 2, show=False) as bar:
        bar.advance(2)
    assert capsys.readouterr().err == ""


def test_without_standard_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)  # as under pythonw
    with Progress("reading", 2, "images") as bar:
        bar.advance()
        bar.say("a word")
