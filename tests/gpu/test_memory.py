"""A GPU that has too little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training.checkpoint import Checkpoint
from tests.gpu import pretend
from tests.training_runs import Configure

pytestmark = pytest.mark.gpu


@pytest.fixture
def little_memory() -> Iterator[None]:
    """For half of the meta-batch of the test below, and half of its validation."""
    if torch.cuda.get_device_name() == pretend.NAME:
        from tests.gpu.pretend.device import largest_tensor

        with largest_tensor(5_000_000):  # of 64 maps of 28 x 28 float32 numbers an image: 24 images
            yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(64 * 2**20 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_a_run_goes_on_with_less_at_once(
    brief: Callable[..., Checkpoint],
    tiny_config: Configure,
    new_classes: ImageDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny_config(iterations=1, meta_batch=2, n_way=5, n_shot=2, n_query=2)
    reached = brief(config, validation=new_classes, bf16=False)
    assert reached.execution.micro_batch == 1 and reached.records[-1].validation is not None
    assert capsys.readouterr().err.splitlines() == ["memory does not suffice for 2 episodes at once; going on with 1"]
