"""The bundled models with CUDA in ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from edge_adapt.runtime.model import load_model, models

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.real_gpu,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="needs onnxruntime-gpu"
    ),
]


@pytest.mark.parametrize("name", sorted(models()))
def test_features_of_cuda_are_those_of_the_cpu(name: str) -> None:
    on_cpu, on_cuda = (load_model(name, provider).graphs for provider in ("cpu", "cuda"))
    size = on_cpu.manifest.preprocessing
    images = np.random.default_rng(0).integers(0, 256, (5, size.height, size.width, size.channels)).astype(np.uint8)
    expected, found = on_cpu.embed(images), on_cuda.embed(images)
    assert on_cuda.provider == "CUDAExecutionProvider"
    cosines = (expected * found).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize("name", sorted(models()))
def test_the_golden_vectors_hold_and_standard_output_is_json(name: str) -> None:
    run = [sys.executable, "-m", "edge_adapt", "info", name, "--json", "--provider", "cuda"]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["self_check"]
