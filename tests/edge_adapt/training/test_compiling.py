"""When a training compiles the blocks of its backbone."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch._inductor.runtime.cache_dir_utils import cache_dir

from edge_adapt.methods.objective import StepMetrics, backpropagate
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.backbones import fused_pooling as fused
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training import autotune, compiling
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from tests.edge_adapt.training.test_autotune import Noise
from tests.training_runs import Configure, Small, stop_at

CPU = torch.device("cpu")
LONG = TrainingConfig.of(minutes=10.0)


def learner_of(backbone: nn.Module) -> MetaLearner:
    return MetaLearner(Embedding(backbone, torch.zeros(1), torch.ones(1)), GradientHead())


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[bool, float | None]], set[Execution]]:
    """Let an outer step take given seconds, by whether it is fused, and give what is timed."""

    def script(seconds: Mapping[bool, float | None]) -> set[Execution]:
        tried: set[Execution] = set()

        def spent(learner: MetaLearner, candidate: Execution, *_: object) -> float | None:
            tried.add(candidate)
            return seconds[candidate.fused]

        monkeypatch.setattr(autotune, "_seconds_per_unit", spent)
        return tried

    return script


@pytest.mark.parametrize(
    ("backbone", "config", "fused"),
    [
        (Conv4(1), LONG, True),
        (Conv4(1), TrainingConfig.of(minutes=9.0), False),
        (Conv4(1), TrainingConfig.of(iterations=2000), True),
        (Conv4(1), TrainingConfig.of(iterations=1999), False),
        (Conv4(1, "group"), LONG, False),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)), LONG, False),
        (Conv4(1), TrainingConfig.of(method="head-only", minutes=10.0), False),
    ],
    ids=["long", "short", "many steps", "few steps", "another normalization", "another backbone", "the head alone"],
)
def test_long_runs_try_the_blocks_that_can_be_fused(
    backbone: nn.Module,
    config: TrainingConfig,
    fused: bool,
    timed: Callable[[Mapping[bool, float | None]], set[Execution]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried, chosen = timed({False: 1.0, True: 0.9}), Execution(2, True)
    found = compiling.fused_where_faster(chosen, learner_of(backbone), CPU, Noise(2), config, 2)
    assert found == Execution(2, True, fused)
    assert any(candidate.fused for candidate in tried) == fused
    assert ("compiling" in capsys.readouterr().err) == fused


@pytest.mark.parametrize("seconds", [1.1, None], ids=["slower", "does not compile"])
def test_what_is_not_faster_is_not_taken(
    seconds: float | None, timed: Callable[[Mapping[bool, float | None]], set[Execution]]
) -> None:
    timed({False: 1.0, True: seconds})
    assert not compiling.fused_where_faster(Execution(2, True), learner_of(Conv4(1)), CPU, Noise(2), LONG).fused


@pytest.mark.parametrize(
    ("micro_batch", "fastest"), [(None, 4), (2, 2)], ids=["other micro-batches too", "the micro-batch that is given"]
)
def test_fused_blocks_take_the_piece_that_is_fastest_for_them(
    micro_batch: int | None, fastest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(learner: MetaLearner, candidate: Execution, *_: object) -> float:
        return 1.0 - 0.1 * candidate.micro_batch if candidate.fused else 1.0

    monkeypatch.setattr(autotune, "_seconds_per_unit", spent)
    found = compiling.fused_where_faster(Execution(2, True), learner_of(Conv4(1)), CPU, Noise(4), LONG, micro_batch)
    assert found == Execution(fastest, True, True)


def test_a_user_of_pytorch_turns_it_off(
    monkeypatch: pytest.MonkeyPatch, timed: Callable[[Mapping[bool, float | None]], set[Execution]]
) -> None:
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    tried = timed({False: 1.0, True: 0.5})
    assert not compiling.fused_where_faster(Execution(2, True), learner_of(Conv4(1)), CPU, Noise(2), LONG).fused
    assert not compiling.still_fused(Execution(2, True, True), learner_of(Conv4(1)), Noise(2)).fused
    assert not tried


class Pixels(Noise):
    """An objective over images that conv4 takes."""

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        images = torch.randint(0, 256, (count, 28, 28, 1), dtype=torch.uint8)
        return backpropagate(learner.embed(images).square().sum(), torch.zeros(()), share)


@pytest.mark.parametrize("error", [RuntimeError, OSError, TypeError])
def test_whatever_a_compiler_raises_leaves_the_layers(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(function: object) -> Any:
        raise error("no compiler")

    monkeypatch.setattr(fused, "_compiled", fails)
    assert compiling.fused_where_faster(Execution(2, True), learner_of(Conv4(1)), CPU, Pixels(2), LONG) == Execution(
        2, True
    )


def test_the_end_of_another_process_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(function: object) -> Any:
        raise EdgeAdaptError("another process ended")

    monkeypatch.setattr(fused, "_compiled", ends)
    with pytest.raises(EdgeAdaptError, match="another process"):
        compiling.fused_where_faster(Execution(2, True), learner_of(Conv4(1)), CPU, Pixels(2), LONG)


def test_a_folder_for_what_is_compiled_that_the_user_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    compiling.keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"


def test_what_is_compiled_lies_in_the_users_own_cache(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is as it was, in the end
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    brief(tiny_config(iterations=1), backbone=Small())
    assert cache_dir() == str(tmp_path / "edge-adapt" / "compiled")


@pytest.mark.slow
def test_a_fresh_process_settles_its_own_cache_before_pytorch_does(tmp_path: Path) -> None:
    program = """
import os, sys
import numpy as np
from edge_adapt.training.config import TrainingConfig
from edge_adapt.runtime.data.dataset import ImageDataset
from tests.training_runs import train

images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1)).astype(np.uint8)
data = ImageDataset("noise", images, ("one", "two"), np.array([0, 4, 8]))
config = TrainingConfig.of(n_way=2, n_query=1, meta_batch=1, image_size=28, grayscale=True, iterations=1)
train(data, sys.argv[1], config, device="cpu", micro_batch=1, bf16=False)
from torch._inductor.runtime.cache_dir_utils import cache_dir

print(cache_dir())
"""
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert found == str(tmp_path / "edge-adapt" / "compiled")


@pytest.mark.parametrize("compiles", [True, False])
def test_a_run_stays_fused_where_that_compiles_and_goes_on_without_elsewhere(
    compiles: bool,
    brief: Callable[..., Checkpoint],
    tiny_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny_config(iterations=3)
    with monkeypatch.context() as patch:
        patch.setattr(
            "edge_adapt.training.start.fused_where_faster", lambda chosen, *_: dataclasses.replace(chosen, fused=True)
        )
        patch.setattr(fused, "_compiled", lambda function: function)
        stop_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config)

    def compiled(function: Any) -> Any:
        if not compiles:
            raise RuntimeError("no compiler")
        return function

    monkeypatch.setattr(fused, "_compiled", compiled)
    resumed = brief(config, resume=True, micro_batch=None, bf16=None)
    assert (resumed.iteration, resumed.execution.fused) == (3, compiles)
    said = capsys.readouterr().err
    assert "compiling" in said and ("going on without" in said) != compiles
    brief(config, resume=True)
    assert not capsys.readouterr().err, "nothing is left to train, nor to compile"


def test_training_tells_how_long_a_run_lasts(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AskedError(Exception): ...

    def announced() -> None:
        raise AskedError

    monkeypatch.setattr(compiling, "_announce", announced)
    brief(tiny_config(iterations=1))
    with pytest.raises(AskedError):
        brief(tiny_config(iterations=None, minutes=10.0), run="other")
