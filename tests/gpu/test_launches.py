"""How often a GPU is asked for something: it idles where each is little work. Counted by a device that is pretended."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training import validation
from edge_adapt.training.compute import Execution
from edge_adapt.training.outer_step import OuterStep
from edge_adapt.training.start import drawing_from, untrained
from edge_adapt.training.validation import Validation
from tests.gpu import pretend
from tests.training_runs import Configure

if TYPE_CHECKING:
    from edge_adapt.training.config import TrainingConfig
    from tests.gpu.pretend.device import Counts

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")


@pytest.fixture
def counts() -> Counts:
    """What the device has been asked for so far."""
    if torch.cuda.get_device_name() != pretend.NAME:
        pytest.skip("counts what a pretended device is asked for")
    from tests.gpu.pretend.device import COUNTS

    return COUNTS


def asked_for(counts: Counts, work: Callable[[], object]) -> tuple[int, int]:
    """Launches, and waits for the device."""
    launches, waits = counts.launches, counts.waits
    work()
    return counts.launches - launches, counts.waits - waits


def test_validation_asks_for_features_and_for_nothing_else(
    counts: Counts, tiny_config: Configure, new_classes: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    learner = untrained(new_classes, config, CUDA, None)
    found = []
    for episodes in (2, 20):
        monkeypatch.setattr(validation, "LEAST_EPISODES", episodes)
        monkeypatch.setattr(validation, "MOST_EPISODES", episodes)
        measure = functools.partial(Validation(new_classes, config, CUDA).accuracy, learner, Execution(1, False))
        found.append(asked_for(counts, measure))
    assert found[0] == found[1]


def of_outer_step(counts: Counts, config: TrainingConfig, data: ImageDataset) -> tuple[int, int]:
    """What one asks for with all of its meta-batch at once, once the optimizer has its state."""
    learner = untrained(data, config, CUDA, None)
    drawing = drawing_from(ImageSampler(data, CUDA), config)
    objective = config.method.objective(learner, drawing)
    step = OuterStep(learner, objective, objective.optimizer(learner, 1e-3), drawing.generator, config.seed)
    execution = Execution(objective.units, bf16=False)
    step.take(0, execution, 0.0, 1e-3)
    return asked_for(counts, lambda: step.take(1, execution, 0.0, 1e-3))


@pytest.mark.parametrize("method", ["anil", "protonet", "memory", "fomaml"])
def test_a_larger_meta_batch_asks_no_more_often(
    method: str, counts: Counts, tiny_config: Configure, training_data: ImageDataset
) -> None:
    steps = {"anil": 2, "fomaml": 1}.get(method)
    settings = {"method": method, "steps": steps, "n_way": 3, "n_query": 1}
    small, large = (
        of_outer_step(counts, tiny_config(**settings, meta_batch=meta_batch), training_data) for meta_batch in (2, 4)
    )
    assert large == small


def test_a_step_of_the_inner_loop_is_a_few_launches_with_its_gradient(
    counts: Counts, tiny_config: Configure, training_data: ImageDataset
) -> None:
    few, more = (of_outer_step(counts, tiny_config(n_way=3, n_query=1, steps=steps), training_data) for steps in (2, 4))
    assert (more[0] - few[0]) / 2 <= 32
    assert more[1] == few[1]
