"""The benchmarks that take `--device cuda` run to their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.real_gpu]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["supervised", "meta_training", "second_order", "inner_steps", "distributed"])
def test_a_benchmark_runs(name: str) -> None:
    own = ["--processes", "1"] if name == "distributed" else []
    run = [sys.executable, f"benchmarks/{name}.py", "--device", "cuda", *own]
    ended = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    print(ended.stdout)
