"""Whether a dataclass that came out of a file holds what its fields say: Python itself does not ask."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edge_adapt.runtime.errors import EdgeAdaptError


def require_types(instance: Any) -> None:
    """Raise EdgeAdaptError, which names the field, where a dataclass or one in its fields holds another type."""
    hints = get_type_hints(type(instance))
    for field in fields(instance):
        value = getattr(instance, field.name)
        if not _fits(value, hints[field.name]):
            raise EdgeAdaptError(f"its {field.name} is of a wrong type.")
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if is_dataclass(part):
                require_types(part)


def _fits(value: object, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        return value in arguments and not isinstance(value, bool)
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, bool, str):
        return type(value) is kind
    if origin is Mapping:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(each, arguments[1]) for key, each in value.items()
        )
    if origin is Sequence:
        return isinstance(value, (list, tuple)) and all(_fits(each, arguments[0]) for each in value)
    if origin is tuple:
        if arguments[1:] == (...,):
            arguments = arguments[:1] * len(value) if isinstance(value, (list, tuple)) else arguments
        return isinstance(value, (list, tuple)) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    return isinstance(value, kind)
