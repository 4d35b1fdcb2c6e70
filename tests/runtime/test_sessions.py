"""Which execution provider runs, and what is said when none does."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.errors import BundleError, MissingDependencyError, ProviderError
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.sessions import Session, scalar
from tests import bundle_samples
from tests.conftest import TINY

PREDICT_INPUTS = ("features", "weight", "bias")
FEEDS = {
    "features": np.ones((2, 48), np.float32),
    "weight": np.ones((3, 48), np.float32),
    "bias": np.zeros(3, np.float32),
}


@pytest.fixture(scope="module")
def predict() -> bytes:
    """The graph predict.onnx of tiny.edge."""
    return Bundle.open(TINY).graph("predict.onnx")


def test_a_session_says_its_outputs_and_provider_and_runs(predict: bytes) -> None:
    session = Session(predict, "predict", PREDICT_INPUTS)
    assert list(session.outputs) == ["logits"] and session.provider == "CPUExecutionProvider"
    (logits,) = session.run(FEEDS)
    np.testing.assert_array_equal(logits, np.full((2, 3), 48, np.float32))


def test_scalars_have_no_dimension() -> None:
    assert scalar(5).shape == () and scalar(5).dtype == np.int64 and int(scalar(5)) == 5


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_those_asked_for(predict: bytes, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _spy_on_options(monkeypatch)
    Session(predict, "predict", PREDICT_INPUTS, threads=threads)
    assert asked == [(threads, 1)]


def test_no_number_of_threads_leaves_the_choice_to_onnx_runtime(
    predict: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _spy_on_options(monkeypatch)
    Session(predict, "predict", PREDICT_INPUTS, threads=None)
    assert asked == [(0, 0)]


def _spy_on_options(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    asked: list[tuple[int, int]] = []
    create = onnxruntime.InferenceSession

    def spy(graph: bytes, options: Any, **rest: Any) -> Any:
        asked.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return create(graph, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    return asked


def test_without_onnx_runtime_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = load_model(TINY)  # opening a bundle needs none
    with pytest.raises(MissingDependencyError, match=r'pip install "edge-adapt\[cpu\]"'):
        model.graphs.embed(np.zeros((1, 8, 8, 3), np.uint8))


def test_cuda_on_a_cpu_build_is_explained_and_auto_takes_the_cpu(
    predict: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=r"built without it \(edge-adapt\[gpu\] brings one that has it\)"):
        Session(predict, "predict", PREDICT_INPUTS, "cuda")
    assert Session(predict, "predict", PREDICT_INPUTS, "auto").provider == "CPUExecutionProvider"


def build_for_cuda_without_gpu(monkeypatch: pytest.MonkeyPatch, raises: bool = False) -> None:
    """Have ONNX Runtime behave as where CUDA does not come up: it complains on the terminal and takes the CPU, or raises."""
    create = onnxruntime.InferenceSession

    def fall_back(graph: bytes, options: Any, providers: list[str]) -> Any:
        if "CUDAExecutionProvider" in providers and raises:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected.\nand more")
        return create(graph, options, providers=["CPUExecutionProvider"])

    def preload() -> None:
        print("Failed to load libcudnn.so.9: no such file")

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)


def test_a_silent_fall_back_to_the_cpu_is_an_error_where_cuda_was_asked_for(
    predict: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    build_for_cuda_without_gpu(monkeypatch)
    with pytest.raises(ProviderError, match="no NVIDIA GPU with a working driver"):
        Session(predict, "predict", PREDICT_INPUTS, "cuda")
    session = Session(predict, "predict", PREDICT_INPUTS, "auto")
    assert session.provider == "CPUExecutionProvider" and session.run(FEEDS)[0].shape == (2, 3)
    assert capfd.readouterr() == ("", "")


def test_a_failure_of_cuda_is_quoted_in_one_line(predict: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    build_for_cuda_without_gpu(monkeypatch, raises=True)
    with pytest.raises(ProviderError) as caught:
        Session(predict, "predict", PREDICT_INPUTS, "cuda")
    assert str(caught.value) == (
        "CUDA does not come up: CUDA failure 100: no CUDA-capable device is detected; use --provider cpu or auto."
    )
    assert Session(predict, "predict", PREDICT_INPUTS, "auto").provider == "CPUExecutionProvider"


def test_a_graph_that_onnx_runtime_refuses_is_named() -> None:
    # Well-formed protobuf of allowed operators that makes no sense as a graph.
    for name, graph in bundle_samples.GRAPHS.items():
        with pytest.raises(BundleError, match=f"^a.edge: {name} is refused by ONNX Runtime") as caught:
            Session(graph, f"a.edge: {name}", ())
        assert "\n" not in str(caught.value)


def test_other_inputs_than_the_formats_are_named(predict: bytes) -> None:
    with pytest.raises(BundleError, match="predict takes features, weight, bias where features, memory are expected"):
        Session(predict, "predict", ("features", "memory"))


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": np.ones((3, 47), np.float32)},
        {"features": np.ones((2, 48), np.float64)},
        {"features": np.ones(48, np.float32)},
        {"bias": np.zeros(7, np.float32)},
    ],
)
def test_a_graph_that_fails_is_named_in_one_sentence(
    predict: bytes, changes: Mapping[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    session = Session(predict, "a.edge: predict.onnx", PREDICT_INPUTS)
    with pytest.raises(BundleError, match=r"^a\.edge: predict\.onnx cannot be run \(.*\)\.$") as caught:
        session.run({**FEEDS, **changes})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # ONNX Runtime does not say it a second time
    session.run(FEEDS)  # and works on


def test_an_unknown_provider_is_not_taken_for_auto(predict: bytes) -> None:
    with pytest.raises(ProviderError, match="'tpu'; choose one of auto, cpu, cuda"):
        Session(predict, "predict", PREDICT_INPUTS, "tpu")  # type: ignore[arg-type]


def test_opening_a_session_says_nothing(predict: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Session(predict, "predict", PREDICT_INPUTS, "auto")
    assert capfd.readouterr() == ("", "")
