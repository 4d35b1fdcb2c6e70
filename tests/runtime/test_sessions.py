"""Which execution provider runs, and what is said when none does."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.errors import BundleError, MissingDependencyError, ProviderError
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.sessions import NAMES, Provider, Session, available, scalar
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


ABSENT = [provider for provider, name in NAMES.items() if name not in onnxruntime.get_available_providers()]
"""The providers that the ONNX Runtime installed here lacks: on a development machine all but `cpu`."""


@pytest.mark.parametrize("provider", available())
def test_every_provider_that_is_there_gives_the_same(predict: bytes, provider: Provider) -> None:
    try:
        session = Session(predict, "predict", PREDICT_INPUTS, provider)
    except ProviderError as error:
        assert provider != "cpu"
        pytest.skip(str(error))  # a build for CUDA without a GPU
    assert session.provider == NAMES[provider]
    np.testing.assert_allclose(session.run(FEEDS)[0], np.full((2, 3), 48), rtol=1e-3)


@pytest.mark.parametrize("provider", ABSENT)
def test_a_provider_that_is_not_there_is_refused_and_those_that_are_there_are_named(
    predict: bytes, provider: Provider
) -> None:
    with pytest.raises(ProviderError) as caught:
        Session(predict, "predict", PREDICT_INPUTS, provider)
    assert str(caught.value).startswith(
        f"the provider {provider} is not in the ONNX Runtime installed here, which has {', '.join(available())}; "
    )


def claim(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ONNX Runtime say that it has a provider; what makes and runs sessions is the real thing."""
    providers = [name, *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)


@pytest.mark.parametrize("provider", ABSENT)
def test_a_silent_fall_back_to_the_cpu_is_an_error(
    predict: bytes, provider: Provider, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    claim(NAMES[provider], monkeypatch)  # which it then leaves out without a word, as where libraries are missing
    with warnings.catch_warnings(), pytest.raises(ProviderError, match=f"the provider {provider} does not come up: "):
        warnings.simplefilter("ignore")
        Session(predict, "predict", PREDICT_INPUTS, provider)
    assert capfd.readouterr() == ("", "")


def test_auto_takes_the_cpu_where_cuda_does_not_come_up(
    predict: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(NAMES, "cuda", "NoSuchExecutionProvider")
    claim("NoSuchExecutionProvider", monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = Session(predict, "predict", PREDICT_INPUTS, "auto")
    assert session.provider == "CPUExecutionProvider" and session.run(FEEDS)[0].shape == (2, 3)
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_fails_is_quoted_and_nothing_is_printed(
    predict: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(NAMES, "cuda", "NoSuchExecutionProvider")
    claim("NoSuchExecutionProvider", monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnxruntime.InferenceSession(predict, providers=["NoSuchExecutionProvider"])  # falls back, and says so
        assert "EP Error" in capfd.readouterr().out
        # Versions that know no `enable_fallback` keep the reason to themselves.
        why = "(Unknown Provider Type: NoSuchExecutionProvider|it needs .*)"
        with pytest.raises(ProviderError, match=f"cuda does not come up: {why}; use --provider cpu or auto.$"):
            Session(predict, "predict", PREDICT_INPUTS, "cuda")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers()
    or not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"),
    reason="needs a provider that comes up and runs nothing, and an ONNX Runtime that says what it runs",
)
def test_a_provider_that_leaves_the_whole_graph_to_the_cpu_is_not_said_to_run_it(
    predict: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMES, "coreml", "AzureExecutionProvider")
    with pytest.raises(ProviderError, match="coreml does not come up: it takes no operator of this model; "):
        Session(predict, "predict", PREDICT_INPUTS, "coreml")


def test_a_session_that_fails_while_it_runs_does_not_go_on_with_another_provider(
    predict: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        def __init__(self, session: object) -> None:
            self._session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        def run(self, *_: object) -> None:
            raise EPFail("CUDA failure 2: out of memory")

    # ONNX Runtime's own class around it is the real one: left to itself it prints, and runs the graph with the CPU.
    sessions = [onnxruntime.InferenceSession(predict), Session(predict, "a.edge: embed.onnx", PREDICT_INPUTS)._session]
    for session in sessions:
        monkeypatch.setattr(session, "_sess", Failing(session._sess))
    assert sessions[0].run(None, FEEDS)[0].shape == (2, 3)
    assert "EP Error" in capfd.readouterr().out
    with pytest.raises(EPFail):
        sessions[1].run(None, FEEDS)
    assert sessions[1].get_providers() == ["CPUExecutionProvider"]
    assert capfd.readouterr() == ("", "")


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


def test_a_graph_that_fails_elsewhere_may_run_on_the_cpu(predict: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(predict, "a.edge: embed.onnx", PREDICT_INPUTS)
    monkeypatch.setattr(session._session, "get_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(BundleError, match=r"cannot be run \(.*\) with CUDAExecutionProvider; try --provider cpu\.$"):
        session.run({**FEEDS, "bias": np.zeros(7, np.float32)})


def test_an_unknown_provider_is_not_taken_for_auto(predict: bytes) -> None:
    with pytest.raises(ProviderError, match="'tpu'; choose one of auto, cpu, cuda, tensorrt,"):
        Session(predict, "predict", PREDICT_INPUTS, "tpu")  # type: ignore[arg-type]


def test_opening_a_session_says_nothing(predict: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Session(predict, "predict", PREDICT_INPUTS, "auto")
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="HOME says where the cache is")
def test_onnxruntime_keeps_and_sends_nothing_of_its_own(tmp_path: Path) -> None:
    """ONNX Runtime 1.31 has telemetry in its wheels for Linux, which begins with a database in the cache."""
    code = f"import edge_adapt; edge_adapt.load_model({str(TINY)!r}, 'cpu').graphs.provider"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not list(tmp_path.rglob("*"))
