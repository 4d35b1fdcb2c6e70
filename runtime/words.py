"""How things are said: numbers with nouns, bytes, durations, what to install, and the fault that a foreign error names."""

from __future__ import annotations


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
    return str(error).strip().partition("\n")[0].rstrip(". ") or type(error).__name__
