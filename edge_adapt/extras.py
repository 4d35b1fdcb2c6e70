"""The one place that names an extra and says how to install it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from edge_adapt.runtime.errors import MissingDependencyError
from edge_adapt.runtime.words import install

TRAINING_PACKAGES = ("torch", "onnx", "onnxscript", "matplotlib")
"""What the extra [train] brings."""


def missing(what: str, package: str, extra: str) -> MissingDependencyError:
    """What to raise where something needs a package that an extra brings."""
    return MissingDependencyError(f"{what} needs {package}, which is not installed; {install(extra)} brings it.")


SERVING_PACKAGES = ("starlette", "uvicorn", "websockets", "python_multipart", "prometheus_client")
"""What the extra [serve] brings."""


def require_serving(publishes: bool) -> None:
    """Raise `MissingDependencyError` unless the extra [serve] is installed, and [mqtt] where answers are published."""
    needed = [("`edge-adapt serve`", package, "serve") for package in SERVING_PACKAGES]
    if publishes:
        needed.append(("`edge-adapt serve --mqtt`", "paho.mqtt", "mqtt"))
    for what, package, extra in needed:
        try:
            import_module(package)  # which is used anyway
        except ModuleNotFoundError as error:
            raise missing(what, package, extra) from error


def require_training(command: str) -> None:
    """Raise `MissingDependencyError` unless the extra [train] is installed, which this command needs."""
    for package in TRAINING_PACKAGES:
        if find_spec(package) is None:
            raise missing(f"`edge-adapt {command}`", package, "train")
