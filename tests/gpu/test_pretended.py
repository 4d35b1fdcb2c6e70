"""The tests of a GPU, on a CPU: in a process of their own, because PyTorch looks for CUDA while it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu import pretend

ROOT = Path(__file__).parents[2]


def test_what_a_pretended_gpu_can_run_passes() -> None:
    fault = pretend.why_not()
    if fault:
        pytest.skip(fault)
    run = [sys.executable, "-m", "pytest", "-p", pretend.__name__, "-m", "gpu", "-n", "0", "-q", "tests/gpu"]
    ended = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " passed" in ended.stdout
