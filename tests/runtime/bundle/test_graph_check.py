"""check_graph: what it lets through, what it refuses, and that bytes of any kind raise nothing but BundleError."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.bundle import graph_check
from edge_adapt.runtime.bundle.graph_check import ALLOWED_OPERATORS, MAX_DEPTH, OPERATORS_BY_KIND, check_graph
from edge_adapt.runtime.errors import BundleError
from tests.bundle_samples import GRAPHS, chunk, model, node, number, tensor, varint

DOCUMENT = (Path(__file__).parents[3] / "docs" / "bundle-format.md").read_text(encoding="utf-8")
EXTERNAL = "keeps a tensor in another file"
LOCATION = chunk(13, chunk(1, b"location"), chunk(2, b"weights.bin"))


def refusal(data: bytes) -> str:
    """What check_graph says, one sentence that begins with the name."""
    with pytest.raises(BundleError) as raised:
        check_graph(data, "mine.edge: adapt.onnx")
    message = str(raised.value)
    assert message.startswith("mine.edge: adapt.onnx ")
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 200
    return message.removeprefix("mine.edge: adapt.onnx ")


def attribute(*value: bytes, name: bytes = b"a") -> bytes:
    return chunk(5, chunk(1, name), *value)


def if_node(*graph_fields: bytes) -> bytes:
    """An If whose then-branch has these fields."""
    return node(b"If", attribute(chunk(6, *graph_fields), number(20, 5)))


SOUND = {
    **GRAPHS,
    "empty graph": model(),
    "domain ai.onnx": model(chunk(1, node(b"Relu", chunk(7, b"ai.onnx")))),
    "subgraph": model(chunk(1, if_node(chunk(1, node()), chunk(5, tensor(b"w"))))),
    "attributes": model(
        chunk(
            1, node(b"Conv", attribute(chunk(8, b"\x01\x02")), attribute(number(3, 300)), attribute(chunk(4, b"SAME")))
        )
    ),
    "attribute float": model(chunk(1, node(b"Elu", attribute(varint(2 << 3 | 5) + b"\0\0\x80\x3f")))),
    "sparse": model(chunk(15, chunk(1, tensor(b"v")), chunk(2, tensor(b"i")), number(3, 4))),
    "location said to be default": model(chunk(5, tensor(b"w", number(14, 0)))),
    "long varints": model(chunk(5, varint(1 << 3) + b"\x82\x80\x80\x00" + chunk(9, bytes(300)))),
    "deepest": model(chunk(1, if_node())),
}


@pytest.mark.parametrize("name", SOUND)
def test_graphs_that_only_compute_pass(name: str) -> None:
    check_graph(SOUND[name], name)


@pytest.mark.parametrize("operator", sorted(ALLOWED_OPERATORS))
def test_listed_operators_pass(operator: str) -> None:
    check_graph(model(chunk(1, node(operator.encode()))), operator)


@pytest.mark.parametrize(
    "bad_tensor",
    [
        tensor(b"w", number(14, 1)),
        tensor(b"w", LOCATION),
        tensor(b"w", LOCATION, number(14, 1)),
        tensor(b"w", number(14, 1), number(14, 0)),
        tensor(b"w", number(14, 2)),
        tensor(b"w", number(14, 2**32 + 1)),  # an int32 to protobuf, which drops the upper half
        tensor(b"w", varint(14 << 3) + b"\x81\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
        tensor(b"w", chunk(14, b"\x01")),
        tensor(b"w", b"\xea\x80\x00" + varint(2) + b"\x0a\x00"),  # field 13 with a tag longer than it need be
        tensor(b"w", chunk(13)),
    ],
)
def test_external_data_is_refused_wherever_a_tensor_can_be(bad_tensor: bytes) -> None:
    sparse_values, sparse_indices = chunk(1, bad_tensor), chunk(1, tensor(b"v")) + chunk(2, bad_tensor)
    for data in (
        model(chunk(5, bad_tensor)),
        model(chunk(5, tensor(b"first")), chunk(5, bad_tensor)),
        model(chunk(15, sparse_values)),
        model(chunk(15, sparse_indices)),
        model(chunk(1, node(b"Constant", attribute(chunk(5, bad_tensor))))),
        model(chunk(1, node(b"Constant", attribute(chunk(5, tensor(b"first")), chunk(5, bad_tensor))))),
        model(chunk(1, node(b"Constant", attribute(chunk(10, bad_tensor))))),
        model(chunk(1, node(b"Constant", attribute(chunk(22, sparse_values))))),
        model(chunk(1, node(b"Constant", attribute(chunk(23, sparse_indices))))),
        model(chunk(1, if_node(chunk(5, bad_tensor)))),
        model(chunk(1, if_node(chunk(15, sparse_values)))),
        model(chunk(1, if_node(chunk(1, node(b"Constant", attribute(chunk(5, bad_tensor))))))),
        model(chunk(1, node(b"Loop", attribute(chunk(11, chunk(1, if_node(chunk(5, bad_tensor)))))))),
    ):
        assert EXTERNAL in refusal(data)


@pytest.mark.parametrize(
    "operator", [b"ImageDecoder", b"relu", b"Relu ", b"RandomNormal", b"", b"\xff", b"\x1b[2J", b"x" * 999]
)
def test_unlisted_operators_are_refused_at_any_depth(operator: bytes) -> None:
    bad = chunk(1, node(operator))
    for data in (
        model(bad),
        model(chunk(1, node()), bad),
        model(chunk(1, if_node(bad))),
        model(chunk(1, node(b"Loop", attribute(chunk(6, chunk(1, if_node(bad))))))),
        model(chunk(1, node(b"Relu", chunk(4, operator)))),
    ):
        assert "uses the operator" in refusal(data)


def test_nodes_need_an_operator_and_the_standard_domain() -> None:
    assert "a node without an operator" in refusal(model(chunk(1, chunk(1, b"x"))))
    for domain in (b"com.microsoft", b"ai.onnx.ml", b"ai.onnx.preview.training", b"\0"):
        assert "the operator domain" in refusal(model(chunk(1, node(b"Gelu", chunk(7, domain)))))
        assert "the operator domain" in refusal(model(chunk(1, if_node(chunk(1, node(b"Relu", chunk(7, domain)))))))
        assert "the operator domain" in refusal(model(after=chunk(8, chunk(1, domain), number(2, 1))))


def test_what_is_not_a_graph_of_operators_is_refused() -> None:
    assert "functions of its own" in refusal(model(after=chunk(25, chunk(1, b"f"))))
    assert "function of its own" in refusal(model(chunk(1, node(b"Relu", chunk(8, b"overload")))))
    assert "training information" in refusal(model(after=chunk(20)))
    prop = chunk(1, b"ort_config") + chunk(2, b"{}")
    for data in (
        model(after=chunk(14, prop)),
        model(chunk(16, prop)),
        model(chunk(1, node(b"Relu", chunk(9, prop)))),
        model(chunk(5, tensor(b"w", chunk(16, prop)))),
    ):
        assert "carries metadata" in refusal(data)
    assert "the unknown model field 26" in refusal(model(after=chunk(26)))
    assert "the unknown node field 10" in refusal(model(chunk(1, node(b"Relu", chunk(10)))))
    assert "the unknown attribute field 21" in refusal(model(chunk(1, node(b"Relu", attribute(chunk(21, b"outer"))))))
    assert "the unknown graph field 3" in refusal(model(b"\x1b\x1c"))  # a group


def test_one_graph_and_an_operator_set_are_needed() -> None:
    one = chunk(7, chunk(1, node()))
    for data in (b"", number(1, 8), one, chunk(8, number(2, 18)), one + one + chunk(8, number(2, 18))):
        assert "is not an ONNX model with one graph" in refusal(data)


def test_the_mark_of_another_format_is_refused() -> None:
    """ONNX Runtime takes bytes 4 to 7 for the mark of its own format, which these also are as a producer's name."""
    assert "ONNX Runtime's own format" in refusal(model(before=number(1, 8) + chunk(2, b"ORTM")))


def test_depth_and_number_of_fields_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = chunk(1, node())
    for _ in range(MAX_DEPTH):
        fields = chunk(1, if_node(fields))
    check_graph(model(fields), "it")
    assert "nested deeper" in refusal(model(chunk(1, if_node(fields))))
    for _ in range(2000):
        fields = chunk(1, if_node(fields))
    assert "nested deeper" in refusal(model(fields))
    monkeypatch.setattr(graph_check, "MAX_FIELDS", 1000)
    assert "more than 1000 protobuf fields" in refusal(model(chunk(2) * 2000))
    assert "more than 1000 protobuf fields" in refusal(model(chunk(1, node()) * 400))


@pytest.mark.parametrize("name", SOUND)
def test_a_graph_cut_off_anywhere_passes_or_is_refused(name: str) -> None:
    data = SOUND[name]
    for length in range(len(data)):
        refusal(data[:length])  # the operator set comes last, so that no shorter one is whole


@given(st.binary(max_size=200))
@example(b"\x80" * 20)
@example(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x3a\xff\xff\xff\xff\x0f")
@settings(max_examples=300, deadline=None)
def test_random_bytes_raise_nothing_but_bundle_error(data: bytes) -> None:
    for wrapped in (
        data,
        model(data),
        model(chunk(1, node(), data)),
        model(chunk(5, data)),
        model(chunk(1, if_node(data))),
    ):
        only_bundle_error(wrapped)


@given(
    name=st.sampled_from(sorted(SOUND)),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_mutations_raise_nothing_but_bundle_error(name: str, edits: list[tuple[int, int, bytes]]) -> None:
    data = SOUND[name]
    for position, cut, insert in edits:
        position %= len(data) + 1  # noqa: PLW2901
        data = data[:position] + insert + data[position + cut :]
    only_bundle_error(data)


def only_bundle_error(data: bytes) -> None:
    try:
        check_graph(data, "it")
    except BundleError as error:
        assert str(error).startswith("it ")
        assert str(error).isprintable()


def test_the_document_lists_the_operators() -> None:
    section = DOCUMENT.split("## Operators")[1].split("\n## ")[0]
    listed = {
        kind: names.split() for kind, names in re.findall(r"^\| ([A-Z][a-z ]+) \| ([A-Za-z0-9 ]+) \|$", section, re.M)
    }
    assert listed == {kind: names.split() for kind, names in OPERATORS_BY_KIND.items()}


def test_the_document_lists_the_fields() -> None:
    messages = {
        "ModelProto": graph_check._MODEL,
        "OperatorSetIdProto": graph_check._OPSET,
        "GraphProto": graph_check._GRAPH,
        "NodeProto": graph_check._NODE,
        "AttributeProto": graph_check._ATTRIBUTE,
        "TensorProto": graph_check._TENSOR,
        "SparseTensorProto": graph_check._SPARSE_TENSOR,
    }
    for name, message in messages.items():
        row = re.search(rf"^\| {name} \| ([0-9, to]*[0-9])", DOCUMENT, re.M)
        assert row is not None
        listed: set[int] = set()
        for part in row[1].split(", "):
            first, _, last = part.partition(" to ")
            listed.update(range(int(first), int(last or first) + 1))
        assert listed == {tag >> 3 for tag in message.allowed}, name
