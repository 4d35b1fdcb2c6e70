"""How things are said: numbers with nouns, bytes, durations, what to install, and the fault that a foreign error names."""

from __future__ import annotations

import re

_MOST_SAID = 10_000  # characters of an error: twenty images that cannot be read are named in one
_MOST_OF_PART = 500  # characters of what stands between two semicolons of an error, such as one of those images
_MOST_OF_OTHERS = 300  # characters of what another library says, which may quote all of a file

# Controls, line breaks of Unicode, what turns the direction of text around, and halves of surrogate pairs.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """A text on one line of a terminal or table, whoever wrote it: what would steer or forge lines is escaped as in Python."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, without its middle where it is longer."""
    return text if len(text) <= most else f"{text[: most - most // 4 - 5]} ... {text[-(most // 4) :]}"


def sentence(text: str) -> str:
    """What an error says, on one line, each of its parts short: what a file quotes in one does not hide the remedy."""
    return shortened("; ".join(shortened(part, _MOST_OF_PART) for part in shown(text).split("; ")), _MOST_SAID)


def plural(count: int, one: str, many: str = "") -> str:
    """A number and its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(count: int) -> str:
    """A number of bytes as one reads it."""
    return f"{count / 1e6:.1f} MB" if count >= 999_500 else f"{count / 1e3:.0f} KB" if count >= 1000 else f"{count} B"


def milliseconds(seconds: float) -> str:
    """A duration as one reads it, to three digits."""
    value = 1000 * seconds
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.3f} ms"


def install(extra: str) -> str:
    """The command that brings what an extra is for."""
    return f'`pip install "edge-adapt[{extra}]"`'


def first_line(error: BaseException) -> str:
    """What an error says first, without a full stop; its type where it says nothing."""
    first = shown(str(error).strip().partition("\n")[0]).rstrip(". ")
    return shortened(first, _MOST_OF_OTHERS) or type(error).__name__


def reason(error: Exception) -> str:
    """The operating system's or another library's words, fit to stand in a sentence of ours."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return shortened(shown(" ".join(text.split())).rstrip("."), _MOST_OF_OTHERS)
