"""ONNX Runtime sessions: which execution provider runs a graph, and errors in one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from edge_adapt.runtime.errors import BundleError, MissingDependencyError, ProviderError, is_out_of_memory
from edge_adapt.runtime.parallel import cores
from edge_adapt.runtime.words import first_line, install

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml", "xnnpack", "qnn"]

NAMES: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
"""What ONNX Runtime calls each provider; `auto` is `cuda` where it comes up, and else `cpu`."""

_BRINGS = {
    "cuda": f"{install('gpu')} instead of [cpu]",
    "tensorrt": f"{install('gpu')} instead of [cpu]",
    "openvino": "`pip install onnxruntime-openvino` in place of onnxruntime",
    "coreml": "ONNX Runtime's package for macOS",
    "xnnpack": "an ONNX Runtime that is built with --use_xnnpack",
    "qnn": "`pip install onnxruntime-qnn` in place of onnxruntime",
}
"""What has a provider in it."""

_NEEDS = {
    "cuda": "an NVIDIA GPU with a working driver, and CUDA and cuDNN libraries that load, which "
    '`pip install "onnxruntime-gpu[cuda,cudnn]"` brings',
    "tensorrt": "an NVIDIA GPU with a working driver, and CUDA, cuDNN and TensorRT libraries that load",
    "openvino": "OpenVINO's libraries",
    "coreml": "macOS",
    "xnnpack": "a processor that XNNPACK knows",
    "qnn": "a Snapdragon with QNN's libraries",
}
"""What a provider needs to come up."""

_ERRORS_ONLY, _FATAL_ONLY = 3, 4  # log severities of ONNX Runtime, which prints what it raises too


class Session:
    """One graph of a bundle, ready to run.

    Args:
        graph: the serialized graph, already checked.
        name: what messages call it: the bundle and the graph.
        inputs: the names that its inputs must have.
        provider: `auto` takes CUDA where it comes up and else the CPU; each other insists.
        threads: of the CPU, OpenVINO and XNNPACK; None takes all cores.

    Raises:
        MissingDependencyError: no ONNX Runtime is installed.
        ProviderError: the provider is not in this ONNX Runtime, does not come up, or takes no part of the graph.
        BundleError: ONNX Runtime refuses the graph, or its inputs have other names.
    """

    def __init__(
        self, graph: bytes, name: str, inputs: Sequence[str], provider: Provider = "cpu", threads: int | None = 1
    ) -> None:
        self._name = name
        self._session = _create(graph, name, provider, threads)
        self.outputs: dict[str, tuple[int | str | None, ...]] = {
            output.name: tuple(output.shape) for output in self._session.get_outputs()
        }
        """The shape of each output as the graph declares it, by name, in its order; a free length is a name or None."""
        found = tuple(entry.name for entry in self._session.get_inputs())
        if sorted(found) != sorted(inputs):
            raise BundleError(
                f"{name} takes {', '.join(found)} where {', '.join(inputs)} are expected; export the bundle again."
            )

    @property
    def provider(self) -> str:
        """The execution provider that really runs the graph, in ONNX Runtime's words."""
        provider: str = self._session.get_providers()[0]
        return provider

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in the graph's order.

        Raises:
            BundleError: the graph fails on these inputs.
        """
        try:
            outputs: list[NDArray[Any]] = self._session.run(list(self.outputs), dict(feeds))
        except Exception as error:  # ONNX Runtime's errors share no base class below Exception
            elsewhere = "" if self.provider == NAMES["cpu"] else f" with {self.provider}; try --provider cpu"
            raise BundleError(f"{self._name} cannot be run ({first_line(error)}){elsewhere}.") from error
        return outputs


def scalar(value: int) -> NDArray[np.int64]:
    """A zero-dimensional int64 array, as the graphs take `n_way` and `steps`."""
    return np.array(value, np.int64)


def available() -> tuple[str, ...]:
    """The providers that are in the ONNX Runtime installed here, whether or not they come up; `cpu` is the first."""
    there = _onnxruntime().get_available_providers()
    return tuple(provider for provider, name in NAMES.items() if name in there)


def onnxruntime_version() -> str:
    """Of the ONNX Runtime installed here."""
    version: str = _onnxruntime().__version__
    return version


def _create(graph: bytes, name: str, provider: Provider, threads: int | None) -> onnxruntime.InferenceSession:
    if provider not in get_args(Provider):
        raise ProviderError(f"there is no provider {provider!r}; choose one of {', '.join(get_args(Provider))}.")
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    there = available()
    if provider not in ("auto", *there):
        raise ProviderError(
            f"the provider {provider} is not in the ONNX Runtime installed here, which has {', '.join(there)}; "
            f"{_BRINGS[provider]} brings it."
        )
    accelerator = provider if provider != "auto" else "cuda" if "cuda" in there else "cpu"
    if accelerator != "cpu":
        session, why_not = _create_on(accelerator, runtime, graph, options, threads)
        if session is not None:
            return session
        if provider != "auto":
            raise ProviderError(f"the provider {provider} does not come up: {why_not}; use --provider cpu or auto.")
    try:
        return _with_no_fallback(runtime, graph, options, [(NAMES["cpu"], {})])
    except Exception as error:  # as in run
        raise BundleError(f"{name} is refused by ONNX Runtime ({first_line(error)}).") from error


def _create_on(
    provider: str, runtime: Any, graph: bytes, options: onnxruntime.SessionOptions, threads: int | None
) -> tuple[onnxruntime.InferenceSession | None, str]:
    """A session that an accelerator really runs, or None and the reason.

    ONNX Runtime prints what goes wrong and leaves the accelerator out; here the outcome is asked for instead.
    """
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    runtime.set_default_logger_severity(_FATAL_ONLY)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where it prints what it does not find
            if hasattr(runtime, "preload_dlls"):
                runtime.preload_dlls()
            session = _with_no_fallback(runtime, graph, options, _with_options(provider, runtime, threads))
    except Exception as error:  # as in run; a graph that is at fault fails again on the CPU, with its own message
        return None, re.sub(r"^\S+\.cc:\d+ .*?\) ", "", first_line(error))  # without the place in its source
    finally:
        runtime.set_default_logger_severity(_ERRORS_ONLY)
    if NAMES[provider] not in session.get_providers():
        return None, f"it needs {_NEEDS[provider]}"
    if hasattr(session, "get_provider_graph_assignment_info"):
        parts = session.get_provider_graph_assignment_info()
        if all(part.ep_name != NAMES[provider] for part in parts):
            return None, "it takes no operator of this model"
    return session, ""


def _with_no_fallback(
    runtime: Any, graph: bytes, options: onnxruntime.SessionOptions, providers: Sequence[tuple[str, dict[str, str]]]
) -> onnxruntime.InferenceSession:
    """A session that raises where ONNX Runtime's Python class would print `EP Error` and go on with other providers."""
    session = runtime.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    session.disable_fallback()  # that of `run`, which the versions that know no such argument leave on
    return session


def _with_options(provider: str, runtime: Any, threads: int | None) -> list[tuple[str, dict[str, str]]]:
    """A provider, and those that take what it leaves, with what ONNX Runtime decides otherwise where nothing is said.

    Of CUDA, and not measured, for want of a GPU:

    - No TF32, which ONNX Runtime takes on Ampere and later. It rounds what is multiplied to 10 bits, errors about as large as
      those that the golden vectors of a float32 model allow, and features that one device gave are compared with another's.
      Photos are embedded one by one, so that there is little to be gained. ONNX Runtime before 1.18 has no such option.
    - cuDNN's algorithms by its heuristic. The exhaustive search times them all, anew in each process and for each number of
      images, before the first answer; a command that classifies a photo ends sooner than that pays. What it finds may also
      differ from one time to the next, and with it the last bits of features.

    TensorRT leaves operators to CUDA; it has TF32 on, and ONNX Runtime has no option for it.
    """
    own: dict[str, str] = {}
    if provider == "cuda":
        own = {"cudnn_conv_algo_search": "HEURISTIC"}
        if tuple(map(int, runtime.__version__.split(".")[:2])) >= (1, 18):
            own["use_tf32"] = "0"
    elif provider == "openvino" and threads is not None:
        own = {"num_of_threads": str(threads)}
    elif provider == "xnnpack":
        own = {"intra_op_num_threads": str(threads or cores())}  # it takes one thread where nothing is said
    elif provider == "qnn":
        own = {"backend_path": "QnnHtp.dll" if sys.platform == "win32" else "libQnnHtp.so"}
    rest = _with_options("cuda", runtime, threads) if provider == "tensorrt" else [(NAMES["cpu"], {})]
    return [(NAMES[provider], own), *rest]


def _onnxruntime() -> Any:
    # From 1.31 on it keeps a device's number and events in the user's cache, and sends them to Microsoft.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"ONNX Runtime is not installed; {install('cpu')} brings it (or [gpu] on a machine with an NVIDIA GPU)."
        ) from error
    except ImportError as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise MissingDependencyError(
            f"ONNX Runtime does not load ({first_line(error)}); install another version of it."
        ) from error
    return onnxruntime
