"""Run the tests of a GPU without one, as a plugin of pytest:

    python -m pytest -p tests.gpu.pretend -m gpu -n 0 tests/gpu

The device (see `tests.gpu.pretend.device`) computes on the CPU, and refuses what CUDA refuses. What needs a real one is skipped
and says so. PyTorch looks for CUDA while it is imported, which is why this has to come first.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import which

import pytest

NAME = "pretended"
"""What the device is called."""

HOOKS = Path(__file__).with_name("cuda_hooks.cpp")


def why_not() -> str | None:
    """What is missing to pretend; None where nothing is."""
    if sys.platform != "linux":
        return "a CUDA device is pretended on Linux alone"
    if which("g++") is None:
        return "a CUDA device is pretended with a few lines of C++; install g++"
    if not (_torch() / "lib" / "libtorch_cpu.so").is_file() or (_torch() / "lib" / "libtorch_cuda.so").exists():
        return "a CUDA device is pretended with a CPU build of PyTorch"
    return None


def _torch() -> Path:
    """The folder of PyTorch, which is not imported."""
    found = importlib.util.find_spec("torch")
    return Path(found.origin or "").parent if found else Path()


def load_hooks() -> None:
    """Compile them and load them, after the libraries that they look into and before PyTorch itself."""
    libraries, include = _torch() / "lib", _torch() / "include"
    with tempfile.TemporaryDirectory() as folder:
        hooks = Path(folder) / "hooks.so"
        paths = [f"-I{include}", f"-I{include / 'torch/csrc/api/include'}", f"-L{libraries}"]
        flags = ["-std=c++20", "-shared", "-fPIC", *paths]
        subprocess.run(["g++", *flags, HOOKS, "-ltorch_cpu", "-lc10", "-o", hooks], check=True)
        ctypes.CDLL(str(libraries / "libtorch_global_deps.so"), mode=ctypes.RTLD_GLOBAL)
        for library in (libraries / "libc10.so", libraries / "libtorch_cpu.so", hooks):
            ctypes.CDLL(str(library))


def pytest_configure() -> None:
    """Pretend from here on, or say why not."""
    fault = "PyTorch was imported before" if "torch" in sys.modules else why_not()
    if fault:
        raise pytest.UsageError(f"{fault}.")
    load_hooks()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Skip what needs a real device."""
    for item in items:
        if item.get_closest_marker("real_gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a real GPU"))


@pytest.fixture(autouse=True)
def pretended_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """The device is there while a test runs that asks for one."""
    from tests.gpu.pretend.device import pretended

    if request.node.get_closest_marker("gpu") is None:
        yield
        return
    with pretended():
        yield
