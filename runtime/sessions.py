"""ONNX Runtime sessions: which execution provider runs a graph, and errors in one sentence."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from edge_adapt.runtime.errors import BundleError, MissingDependencyError, ProviderError
from edge_adapt.runtime.words import first_line, install

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

Provider = Literal["auto", "cpu", "cuda"]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_ERRORS_ONLY, _FATAL_ONLY = 3, 4  # log severities of ONNX Runtime, which prints what it raises too


class Session:
    """One graph of a bundle, ready to run.

    Args:
        graph: the serialized graph, already checked.
        name: what messages call it: the bundle and the graph.
        inputs: the names that its inputs must have.
        provider: `cpu`; `cuda`, which raises where CUDA does not come up; `auto`, which takes CUDA where it does.
        threads: of the CPU provider; None lets ONNX Runtime take all cores.

    Raises:
        MissingDependencyError: no ONNX Runtime is installed.
        ProviderError: `cuda` does not come up, or another provider is asked for.
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
            raise BundleError(f"{self._name} cannot be run ({first_line(error)}).") from error
        return outputs


def scalar(value: int) -> NDArray[np.int64]:
    """A zero-dimensional int64 array, as the graphs take `n_way` and `steps`."""
    return np.array(value, np.int64)


def _create(graph: bytes, name: str, provider: Provider, threads: int | None) -> onnxruntime.InferenceSession:
    if provider not in get_args(Provider):
        raise ProviderError(f"there is no provider {provider!r}; choose one of {', '.join(get_args(Provider))}.")
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    if provider != "cpu":
        session, why_not = _create_on_cuda(runtime, graph, options)
        if session is not None:
            return session
        if provider == "cuda":
            raise ProviderError(f"CUDA does not come up: {why_not}; use --provider cpu or auto.")
    try:
        return runtime.InferenceSession(graph, options, providers=[_CPU])
    except Exception as error:  # as in run
        raise BundleError(f"{name} is refused by ONNX Runtime ({first_line(error)}).") from error


def _create_on_cuda(
    runtime: Any, graph: bytes, options: onnxruntime.SessionOptions
) -> tuple[onnxruntime.InferenceSession | None, str]:
    """A session that CUDA really runs, or None and the reason."""
    if _CUDA not in runtime.get_available_providers():
        return None, "the ONNX Runtime installed here is built without it (edge-adapt[gpu] brings one that has it)"
    # ONNX Runtime prints what goes wrong and falls back to the CPU; here the outcome is asked for instead.
    runtime.set_default_logger_severity(_FATAL_ONLY)
    try:
        if hasattr(runtime, "preload_dlls"):
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
                runtime.preload_dlls()
        session = runtime.InferenceSession(graph, options, providers=[_CUDA, _CPU])
    except Exception as error:  # as in run; a graph that is at fault fails again on the CPU, with its own message
        return None, first_line(error)
    finally:
        runtime.set_default_logger_severity(_ERRORS_ONLY)
    if _CUDA not in session.get_providers():
        return None, "no NVIDIA GPU with a working driver, or its CUDA and cuDNN libraries do not load"
    return session, ""


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX Runtime is not installed; {install('cpu')} brings it (or [gpu] on a machine with an NVIDIA GPU)."
        ) from error
    return onnxruntime
