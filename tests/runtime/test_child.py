"""Functions in a process of its own: what they return and raise comes back, and what kills that process is told."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from edge_adapt.runtime.child import DiedError, in_child
from edge_adapt.runtime.errors import ProviderError
from tests import child_functions


def test_a_result_comes_back_whatever_is_printed() -> None:
    began = time.perf_counter()
    answer = in_child(child_functions.add, 2, 3)
    assert answer.value == {"sum": 5} and 0 < answer.seconds <= time.perf_counter() - began


def test_an_error_comes_back_as_what_it_is() -> None:
    with pytest.raises(ProviderError, match=r"^there is no tpu\.$"):
        in_child(child_functions.refuse, "tpu")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize(("name", "words"), [("SIGILL", "Illegal instruction"), ("SIGSEGV", "Segmentation fault")])
def test_a_death_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(DiedError) as caught:
        in_child(child_functions.die, name)
    assert caught.value.signal == name
    assert (
        str(caught.value)
        == f"Python in a process of its own is killed by {name} ({words}); `edge-adapt doctor` says more."
    )


def test_an_end_without_an_answer_is_one_sentence_with_the_last_words() -> None:
    with pytest.raises(DiedError, match=r"^Python in a process of its own ends with status 3 \(so long\); "):
        in_child(child_functions.leave)
    with pytest.raises(DiedError, match=r"ends with status 1 \(ZeroDivisionError: one by zero\); ") as caught:
        in_child(child_functions.crash)
    assert caught.value.signal == ""


def test_modules_are_not_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "edge_adapt", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])  # "" is where a worker of pytest works
    monkeypatch.chdir(tmp_path)
    assert in_child(child_functions.folder).value == str(tmp_path)
