"""How things are said."""

from __future__ import annotations

import pytest

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.words import first_line, reason, shortened, shown


@pytest.mark.parametrize("text", ["plain", "字 é ñ", "שלום", "👩\u200d👩\u200d👧", "C:\\photos\\new", "a\u00a0b"])
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == text


def test_what_steers_a_terminal_or_turns_text_around_is_escaped() -> None:
    assert shown("a\n\t\r\x1b[2J\x7f\x9b\u2028\u202ecod\u2066\udc80") == (
        "a\\n\\t\\r\\x1b[2J\\x7f\\x9b\\u2028\\u202ecod\\u2066\\udc80"
    )


def test_what_is_too_long_loses_its_middle() -> None:
    assert shortened("short", 100) == "short"
    text = shortened("begin" + "x" * 10_000 + "end", 100)
    assert len(text) <= 100 and text.startswith("begin") and text.endswith("end") and " ... " in text


def test_another_library_may_not_quote_a_whole_file() -> None:
    error = ValueError("x" * 3_000_000)
    assert len(first_line(error)) <= 300 and len(reason(error)) <= 300


def test_an_error_is_one_printable_line_whatever_names_it_quotes() -> None:
    said = str(DataError(f"photos.zip holds a\nb\x1b[2J\udc80.png; it holds {'x' * 60_000} too; make it again."))
    assert said.startswith(r"photos.zip holds a\nb\x1b[2J\udc80.png; it holds xxx") and said.endswith(
        "; make it again."
    )
    assert len(said) < 600 and said.isprintable()
