"""JSON from outside, read strictly: each key is expected, of the right type and in bounds, or BundleError."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from edge_adapt.runtime.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Collection

# A line of text: no control characters, which could steer a terminal, and no half of a surrogate pair.
_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
LARGEST_INTEGER = 2**31 - 1
LARGEST_FLOAT = 3.4028234663852886e38  # of float32; finite, so that 1e999 is out of range


def dump_json(value: object, where: str) -> bytes:
    """UTF-8 without blanks, keys in the order given, numbers as Python's `repr` writes them."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise BundleError(f"{where} cannot hold a number that is not finite.") from error
    # Half a surrogate pair becomes the JSON escape \ud8xx, which every reader here refuses.
    return text.encode("utf-8", "backslashreplace")


def is_line(text: str) -> bool:
    """Whether a text has no control characters, as names and labels in a bundle must not."""
    return _LINE.fullmatch(text) is not None


class Fields:
    """The keys of one JSON object, taken one by one; messages begin with `where`, the file and the object."""

    def __init__(self, value: object, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise BundleError(f"{where} is not a JSON object.")
        self._left: dict[str, Any] = dict(value)

    def fail(self, fault: str) -> NoReturn:
        """Raises BundleError: `fault` follows the name of the file and object."""
        raise BundleError(f"{self.where} {fault}.")

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def take(self, key: str) -> Any:
        """The value of `key`, of any type; a missing key is refused."""
        if key not in self._left:
            self.fail(f'lacks "{key}"')
        return self._left.pop(key)

    def done(self) -> None:
        """Refuses keys that were not taken: to pass over one that matters would be to misread the file."""
        for key in self._left:
            self.fail(f"has the unknown key {quoted(key)}")

    def line(self, key: str, *, empty: bool = False) -> str:
        """A text without control characters."""
        return self.check_line(self.take(key), f'"{key}"', empty=empty)

    def check_line(self, value: object, what: str, *, empty: bool = False) -> str:
        """`value`, if it is a text as in `line`; `what` names it."""
        if not isinstance(value, str) or not (value or empty) or not is_line(value):
            self.fail(f"has {what} that is not one line of text")
        return value

    def choice(self, key: str, choices: Collection[str]) -> str:
        """One of the given texts."""
        value = self.take(key)
        if not isinstance(value, str) or value not in choices:
            self.fail(f'has "{key}" {quoted(value)}, and this version knows only {", ".join(choices)}')
        return value

    def sha256(self, key: str) -> str:
        """64 lower-case hexadecimal digits."""
        value = self.take(key)
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            self.fail(f'has "{key}" that is not a SHA-256 in hexadecimal')
        return value

    def integer(self, key: str, least: int, most: int = LARGEST_INTEGER) -> int:
        """An integer, `true` and `1.0` not counting as one, in least..most."""
        value = self.take(key)
        if type(value) is not int or not least <= value <= most:
            self.fail(f'has "{key}" that is not an integer from {least} to {most}')
        return value

    def boolean(self, key: str) -> bool:
        """True or false."""
        value = self.take(key)
        if type(value) is not bool:
            self.fail(f'has "{key}" {quoted(value)}, which is neither true nor false')
        return value

    def is_null(self, key: str) -> bool:
        """Whether `key` is null, which then counts as taken."""
        if self._left.get(key, key) is not None:
            return False
        del self._left[key]
        return True

    def number(self, key: str, least: float, most: float) -> float:
        """A finite number in least..most."""
        return self.check_number(self.take(key), f'"{key}"', least, most)

    def check_number(self, value: object, what: str, least: float, most: float) -> float:
        """`value`, if it is a number as in `number`; `what` names it."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            self.fail(f"has {what} that is not a number from {least:g} to {most:g}")
        return float(value)

    def child(self, key: str) -> Fields:
        """The object at `key`."""
        return Fields(self.take(key), f'{self.where} ("{key}")')

    def items(self, key: str, most: int = LARGEST_INTEGER) -> list[Any]:
        """A list of at most so many items, of any types."""
        value = self.take(key)
        if not isinstance(value, list) or len(value) > most:
            self.fail(f'has "{key}" that is not a list of at most {most} items')
        return value


def load_json(data: bytes, where: str) -> object:
    """The value that `data` holds. Refuses doubled keys, NaN, infinities and numbers of absurd length."""
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_without_doubles,
            parse_constant=_refuse,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BundleError(f"{where} is not valid JSON ({_reason(error)}).") from error


def quoted(value: object) -> str:
    """A value from outside as it may stand in a message: short, and without control characters."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _object_without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > 20:  # int() takes quadratic time
        raise ValueError("a number has too many digits")
    return int(digits)


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
