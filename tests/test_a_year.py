"""The commands of docs/a-year.md still print what it says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.a_year import DOCUMENT, run_again, stable


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the commands are typed into a shell")
def test_the_commands_of_a_year_print_what_the_document_says(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("cryptography")
    for tool in ("openssl", "timeout"):
        if not shutil.which(tool):
            pytest.skip(f"there is no {tool} here")
    written = DOCUMENT.read_text(encoding="utf-8")
    assert stable(run_again(written, tmp_path)).splitlines() == stable(written).splitlines()


def test_a_document_keeps_its_words_and_gets_what_its_commands_print(tmp_path: Path) -> None:
    document = "Words.\n\n    $ printf 'a\\n\\nb\\n'\n    old\n\n    older\n    $ echo 'Error: no.' >&2\n\nMore.\n\n    plain\n"
    printed = document.replace("    old\n\n    older\n", "    a\n\n    b\n").replace(">&2\n", ">&2\n    Error: no.\n")
    assert run_again(document, tmp_path) == printed


def test_numbers_do_not_count() -> None:
    assert stable("saw  97.25%: 3,400 of 5\n") == stable("saw 1%: 2 of   7\n") != stable("saw 1%: 2 or 7\n")
