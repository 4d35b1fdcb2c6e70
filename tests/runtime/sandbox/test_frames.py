"""Frames carry arrays unchanged, and whatever bytes come, a reader raises nothing but its own errors."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_adapt.runtime.sandbox.frames import MAX_HEADER, FrameError, read_frame, write_frame

ARRAYS = hnp.arrays(
    st.sampled_from(["bool", "uint8", "int64", "float32", "float64"]), hnp.array_shapes(min_dims=0, min_side=0)
)


def frame(header: object, body: bytes = b"") -> io.BytesIO:
    text = json.dumps(header).encode()
    return io.BytesIO(len(text).to_bytes(8, "little") + text + body)


@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != "arrays"), st.integers()), st.lists(ARRAYS))
def test_what_is_written_is_read(header: dict[str, int], arrays: list[np.ndarray[Any, Any]]) -> None:
    stream = io.BytesIO()
    write_frame(stream, header, arrays)
    stream.seek(0)
    read_header, read = read_frame(stream, most=10_000_000)
    assert read_header == header and not stream.read()
    for one, other in zip(read, arrays, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_an_end_or_an_error(data: bytes) -> None:
    with pytest.raises((FrameError, EOFError)):
        read_frame(io.BytesIO(data), most=100)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"arrays": 3},
        {"arrays": [{"dtype": "object", "shape": [1]}]},
        {"arrays": [{"dtype": "float32", "shape": [-1]}]},
        {"arrays": [{"dtype": "float32", "shape": [2**40, 2**40]}]},
        {"arrays": [{"dtype": "float32", "shape": "x"}]},
        {"arrays": [{"dtype": "float32", "shape": [1] * 9}]},
        {"arrays": [{"dtype": "float32", "shape": [0]}] * 65},
        {"arrays": [{"dtype": "float32", "shape": [3]}]},
    ],
)
def test_a_lie_is_noticed_before_anything_is_made_of_it(header: object) -> None:
    with pytest.raises(FrameError):
        read_frame(frame(header, bytes(11)), most=1000)


def test_a_header_without_end_is_not_read() -> None:
    stream = io.BytesIO((MAX_HEADER + 1).to_bytes(8, "little") + bytes(MAX_HEADER + 1))
    with pytest.raises(FrameError):
        read_frame(stream, most=1000)
    assert stream.tell() == 8


@pytest.mark.parametrize("output", [np.array(["a"]), np.array([None]), [1, 2], None])
def test_what_is_no_array_of_numbers_is_not_written(output: Any) -> None:
    stream = io.BytesIO()
    with pytest.raises(FrameError):
        write_frame(stream, {}, [output])
    assert not stream.getvalue()
