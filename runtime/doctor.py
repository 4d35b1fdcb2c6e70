"""What is wrong with a device, if anything, and what to do about it."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_adapt.runtime.child import DiedError, in_child
from edge_adapt.runtime.errors import EdgeAdaptError, ProviderError
from edge_adapt.runtime.timing import processor
from edge_adapt.runtime.words import install

if TYPE_CHECKING:
    from edge_adapt.runtime.sessions import Provider

Status = Literal["OK", "skipped", "fault"]

SAMPLES = Path(__file__).parents[1] / "samples"  # beside `runtime`, in a checkout and in a wheel
_SAMPLES_OF = {"characters": "characters", "photos": "photos", "photos-small": "photos"}
_LEAST_RIGHT = 0.9
"""Of the labels of the samples. Every bundled model gives 96% or more; rounding on another processor changes one or two of 80."""

_WHEELS = (
    *("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn"),
    *("onnxruntime-directml", "onnxruntime-silicon"),
)
"""The distributions that are one import, of which there can be one."""

_OPTIONAL = ("tensorrt",)
"""Providers that come with another, and need more than it does."""


@dataclass(frozen=True)
class DeviceCheck:
    """One thing that was looked at.

    Attributes:
        what: it was.
        status: `OK`, `fault`, or `skipped`, which is no fault.
        text: what was found.
        remedy: what to do about a fault.
    """

    what: str
    status: Status
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that was looked at, in the order of what depends on what."""

    checks: tuple[DeviceCheck, ...]

    @property
    def faults(self) -> tuple[DeviceCheck, ...]:
        """The faults alone."""
        return tuple(check for check in self.checks if check.status == "fault")


def doctor(model: str | os.PathLike[str] | None = None) -> Diagnosis:
    """Check this device: Python and packages, ONNX Runtime and its providers, golden vectors, and labels of the samples.

    What could kill the process, as a build for newer processors does, happens in a process of its own; NumPy, Pillow and ONNX
    Runtime are not even imported in this one.

    Args:
        model: a path, or the name of a bundled model; None takes all bundled models. The labels of the samples are known of
            bundled models alone.
    """
    return Diagnosis(tuple(_checks(None if model is None else os.fspath(model))))


def _checks(model: str | None) -> Iterator[DeviceCheck]:
    yield _python()
    yield _packages()
    yield _wheels()
    try:
        found = in_child(load_onnx_runtime).value
    except EdgeAdaptError as error:
        yield _does_not_load(error)
        return
    yield DeviceCheck("ONNX Runtime", "OK", f"{found['version']} loads, and has {', '.join(found['providers'])}")
    names = found["models"] if model is None else [model]
    for provider in found["providers"]:
        yield from _golden_vectors(names, provider)
    for name in names:
        yield _samples(name)


def _python() -> DeviceCheck:
    bits = 64 if sys.maxsize > 2**32 else 32
    text = f"{platform.python_version()}, {bits} bits, {platform.system()} {platform.machine()}, {processor()}"
    if bits == 64:
        return DeviceCheck("Python", "OK", text)
    remedy = "there are no wheels of ONNX Runtime for it: install a 64-bit system, such as Raspberry Pi OS (64-bit)"
    return DeviceCheck("Python", "fault", text, remedy)


def _packages() -> DeviceCheck:
    """Whether what edge-adapt asks for is there, and new enough."""
    try:
        required = metadata.requires("edge-adapt") or []
    except metadata.PackageNotFoundError:
        return DeviceCheck("packages", "skipped", "edge-adapt runs from a checkout that is not installed")
    found = {"edge-adapt": metadata.version("edge-adapt")}
    for name, least, extra in re.findall(r"^([\w.-]+) *>= *([\d.]+) *(;.*)?$", "\n".join(required), re.MULTILINE):
        version = _version(name)
        if extra and (name not in _WHEELS or version is None):
            continue
        if version is None or _parts(version) < _parts(least):
            text = f"{name} {version or 'is not installed'}, and edge-adapt needs {least} or newer"
            return DeviceCheck("packages", "fault", text, f'`pip install --upgrade "{name}>={least}"`')
        found[name] = version
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    try:
        in_child(load_packages)
    except DiedError as error:
        return DeviceCheck(
            "packages", "fault", f"{text}: {_fault(error)}", "`pip install --force-reinstall numpy pillow`"
        )
    return DeviceCheck("packages", "OK", text)


def _wheels() -> DeviceCheck:
    there = [name for name in _WHEELS if _version(name)]
    if not there:
        return DeviceCheck("wheels", "skipped", "no wheel of ONNX Runtime is installed")
    if len(there) == 1:
        return DeviceCheck("wheels", "OK", f"{there[0]} is the only ONNX Runtime")
    text = f"{' and '.join(there)} are installed together, and each overwrites files of the other"
    return DeviceCheck("wheels", "fault", text, f"`pip uninstall {' '.join(there)}`, then install one of them")


def _does_not_load(error: EdgeAdaptError) -> DeviceCheck:
    if not isinstance(error, DiedError):
        return DeviceCheck("ONNX Runtime", "fault", _fault(error))
    wheel = " and ".join(f"{name} {_version(name)}" for name in _WHEELS if _version(name)) or "ONNX Runtime"
    text = f"{wheel} does not load: {_fault(error)}"
    return DeviceCheck("ONNX Runtime", "fault", text, _other_version(error))


def _other_version(error: DiedError) -> str:
    """What to do about an ONNX Runtime that kills Python."""
    if error.signal == "SIGILL":
        return (
            "it is built for newer processors, as 1.21.0 is for newer ones than a Raspberry Pi 4's: "
            '`pip install "onnxruntime!=1.21.0"`'
        )
    return f"install another version of ONNX Runtime; {install('cpu')} brings the newest"


def _golden_vectors(names: Sequence[str], provider: str) -> Iterator[DeviceCheck]:
    """Of each model with a provider, or of one where the provider does not come up."""
    for name in names:
        what = f"{name}, {provider}"
        try:
            errors = in_child(golden_errors, name, provider).value
        except ProviderError as error:
            yield DeviceCheck(provider, "skipped" if provider in _OPTIONAL else "fault", _fault(error))
            return
        except DiedError as error:
            remedy = _other_version(error) if provider == "cpu" else "take --provider cpu"
            yield DeviceCheck(what, "fault", _fault(error), remedy)
        except EdgeAdaptError as error:
            yield DeviceCheck(what, "fault", _fault(error))
        else:
            if errors is None:
                yield DeviceCheck(what, "skipped", "the bundle has no golden vectors")
            else:
                text = f"golden vectors hold, off by {max(errors.values()):.1e} at most"
                yield DeviceCheck(what, "OK", text)


def _samples(name: str) -> DeviceCheck:
    what = f"{name}, samples"
    if name not in _SAMPLES_OF:
        return DeviceCheck(what, "skipped", "which labels are right is known of bundled models alone")
    folder = SAMPLES / _SAMPLES_OF[name]
    if not folder.is_dir():
        return DeviceCheck(what, "skipped", "the samples are not installed")
    try:
        right, images = in_child(right_labels, name, str(folder)).value
    except EdgeAdaptError as error:
        return DeviceCheck(what, "fault", _fault(error), _other_version(error) if isinstance(error, DiedError) else "")
    text = f"{right} of {images} labels right"
    if right >= _LEAST_RIGHT * images:
        return DeviceCheck(what, "OK", text)
    remedy = "where the golden vectors hold, images are decoded otherwise here: `pip install --upgrade pillow`"
    return DeviceCheck(what, "fault", text, remedy)


def _fault(error: EdgeAdaptError) -> str:
    """What it says, for a sentence that goes on."""
    return error.how if isinstance(error, DiedError) else str(error).rstrip(".")


def load_packages() -> None:
    """Import what every command needs."""
    import numpy  # noqa: F401
    import PIL.Image  # noqa: F401


def load_onnx_runtime() -> dict[str, Any]:
    """The version of the ONNX Runtime that loads here, the providers that are in it, and the bundled models."""
    from edge_adapt.runtime.model import models
    from edge_adapt.runtime.sessions import available, onnxruntime_version

    return {"version": onnxruntime_version(), "providers": available(), "models": models()}


def golden_errors(model: str, provider: Provider) -> dict[str, float] | None:
    """What `self_check` gives for a bundle with a provider, once all of it is checked; None where it has no golden vectors."""
    from edge_adapt.runtime.model import load
    from edge_adapt.runtime.self_check import self_check

    graphs = load(model, provider).graphs
    graphs.bundle.verify()
    return self_check(graphs) or None


def right_labels(model: str, samples: str) -> tuple[int, int]:
    """How many query images of the samples get their label from a model that adapted to the support images, and of how many."""
    from edge_adapt.runtime.adaptation import adapt
    from edge_adapt.runtime.folder_evaluation import evaluate_classifier

    result = evaluate_classifier(adapt(f"{samples}/support", model=model), f"{samples}/query")
    return sum(of_class.right for of_class in result.classes), result.images


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _parts(version: str) -> tuple[int, ...]:
    """1.23.2rc1 as (1, 23, 2)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
