"""Meta-training: images a second, of this project, of a loop over tasks written with `higher`, and of `torch.func.vmap`.

    python -m pip install higher==0.2.1
    python benchmarks/meta_training.py [--device cpu|cuda] [--threads N]

Both train conv4 with ANIL on 5-way 1-shot episodes of one sampler, 32 to an outer step, 5 inner steps, with 1 query image a class
and with 15. The loop is what a careful user of `higher` (Grefenstette et al., "Generalized Inner Loop Meta-Learning", 2019,
https://arxiv.org/abs/1910.01727) writes: the backbone once for the images of a task, and `innerloop_ctx` around the head alone.
`torch.func.vmap` takes the inner loops of all tasks side by side, after one pass of the backbone over all their images, in the
precision that this project chose; its batch statistics are those of all tasks together, which is less work than those of each.
Each runs in a process of its own, since this project tells the C library how to keep memory; they take turns.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.measuring import machine, ratio, table, take_orders, worker
from edge_adapt.methods.episodes import ImageSampler, labels_of
from edge_adapt.methods.objective import Objective
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.networks.memory import keep_freed_memory
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training import autotune
from edge_adapt.training.compiling import fused_where_faster
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.outer_step import OuterStep
from edge_adapt.training.start import drawing_from

N_WAY, N_SHOT, STEPS, META_BATCH, SIZE = 5, 1, 5, 32, 28
ROUNDS = 12
EXPECTED = {1: 4.0, 15: 2.5}
EXPECTED_ON_GPU = 20.0

Step = Callable[[], None]


def dataset(classes: int = 200) -> ImageDataset:
    """Images of noise, 20 of each class: what they show makes no difference to the time."""
    images = np.random.default_rng(0).integers(0, 256, (classes * 20, SIZE, SIZE, 1)).astype(np.uint8)
    return ImageDataset("noise", images, tuple(map(str, range(classes))), np.arange(0, len(images) + 1, 20))


def as_trained(learner: MetaLearner, objective: Objective, generator: torch.Generator, execution: Execution) -> Step:
    """An outer step as `train` takes it."""
    optimizer = objective.optimizer(learner, 0.002)
    outer, iterations = OuterStep(learner, objective, optimizer, generator, seed=0), itertools.count()

    def step() -> None:
        outer.compute(next(iterations), execution, 0.0)
        optimizer.step()

    return step


def ours(sampler: ImageSampler, device: torch.device, n_query: int) -> tuple[Step, str]:
    """Our outer step as in a run of an hour, and how its meta-batch is computed."""
    if device.type == "cpu":
        keep_freed_memory()
    embedding = Embedding(Conv4(1), torch.tensor([0.5]), torch.tensor([0.3]))
    learner = MetaLearner(embedding, GradientHead("prototype")).to(device)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    config = TrainingConfig.of(
        n_way=N_WAY, n_shot=N_SHOT, n_query=n_query, steps=STEPS, meta_batch=META_BATCH, minutes=60.0
    )
    drawing = drawing_from(sampler, config)
    objective = config.method.objective(learner, drawing)
    fastest = autotune.choose(learner, device, objective)
    execution = fused_where_faster(fastest, learner, device, objective, config)
    how = [
        f"{execution.micro_batch} episodes at once",
        "bfloat16" if execution.bf16 else "float32",
        *["compiled"] * execution.fused,
    ]
    return as_trained(learner, objective, drawing.generator, execution), ", ".join(how)


def with_higher(sampler: ImageSampler, device: torch.device, n_query: int) -> tuple[Step, str]:
    """An outer step of a loop over tasks."""
    import higher

    backbone, head = Conv4(1).to(device), nn.Linear(64, N_WAY).to(device)
    inner = torch.optim.SGD(head.parameters(), lr=0.1)
    outer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=0.002)
    generator = torch.Generator(device).manual_seed(0)
    support_labels, query_labels = labels_of(N_WAY, N_SHOT, device), labels_of(N_WAY, n_query, device)

    def step() -> None:
        episodes = sampler.draw_episodes(META_BATCH, N_WAY, N_SHOT + n_query, generator)
        outer.zero_grad()
        for images in ((episodes.float() / 255 - 0.5) / 0.3).movedim(-1, 3):  # [N, K, C, H, W]
            with higher.innerloop_ctx(head, inner, copy_initial_weights=False) as (fast_head, fast_inner):
                features = backbone(images.flatten(0, 1)).unflatten(0, (N_WAY, -1))
                support, query = features[:, :N_SHOT].flatten(0, 1), features[:, N_SHOT:].flatten(0, 1)
                for _ in range(STEPS):
                    fast_inner.step(functional.cross_entropy(fast_head(support), support_labels))
                loss = functional.cross_entropy(fast_head(query), query_labels)
                (loss / META_BATCH).backward()  # type: ignore[no-untyped-call]
        outer.step()

    return step, "a task at a time, float32"


def with_vmap(sampler: ImageSampler, device: torch.device, n_query: int, bf16: bool) -> tuple[Step, str]:
    """An outer step whose inner loops are one vectorized function."""
    backbone, head = Conv4(1).to(device), nn.Linear(64, N_WAY).to(device)
    outer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=0.002)
    generator = torch.Generator(device).manual_seed(0)
    support_labels, query_labels = labels_of(N_WAY, N_SHOT, device), labels_of(N_WAY, n_query, device)

    def support_loss(weights: dict[str, torch.Tensor], support: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(torch.func.functional_call(head, weights, support), support_labels)

    def query_loss(features: torch.Tensor) -> torch.Tensor:
        support, query = features[:, :N_SHOT].flatten(0, 1), features[:, N_SHOT:].flatten(0, 1)
        weights: dict[str, torch.Tensor] = dict(head.named_parameters())
        for _ in range(STEPS):
            gradients = torch.func.grad(support_loss)(weights, support)
            weights = {name: weight - 0.1 * gradients[name] for name, weight in weights.items()}
        return functional.cross_entropy(torch.func.functional_call(head, weights, query), query_labels)

    def step() -> None:
        episodes = sampler.draw_episodes(META_BATCH, N_WAY, N_SHOT + n_query, generator)
        outer.zero_grad()
        images = ((episodes.float() / 255 - 0.5) / 0.3).movedim(-1, 3)  # [E, N, K, C, H, W]
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            features = backbone(images.flatten(0, 2)).float().unflatten(0, images.shape[:3])
        torch.func.vmap(query_loss)(features).mean().backward()  # type: ignore[no-untyped-call]
        outer.step()

    return step, f"all at once, {'bfloat16' if bf16 else 'float32'}"


def work(name: str, device: torch.device, n_query: int, bf16: bool) -> None:
    """Be a worker."""
    sampler = ImageSampler(dataset(), device)
    if name == "vmap":
        step, how = with_vmap(sampler, device, n_query, bf16)
    else:
        step, how = (ours if name == "ours" else with_higher)(sampler, device, n_query)
    take_orders(step, how, *([torch.cuda.synchronize] if device.type == "cuda" else []))


def compare(device: torch.device, n_query: int) -> list[str]:
    """Time all three in turn, and give a row of the table."""
    query = ("--query", str(n_query))
    with worker("ours", *query) as (our_step, our_way), worker("higher", *query) as (their_step, their_way):
        precision = ["--bf16"] if "bfloat16" in our_way else []
        with worker("vmap", *query, *precision) as (vmap_step, vmap_way):
            turns = [(our_step(), their_step(), vmap_step()) for _ in range(ROUNDS)]
    us, them, vectorized = zip(*turns, strict=True)
    images = META_BATCH * N_WAY * (N_SHOT + n_query)
    expected = EXPECTED[n_query] if device.type == "cpu" else EXPECTED_ON_GPU
    timed = (us, our_way), (them, their_way), (vectorized, vmap_way)
    speeds = [f"{images / median(seconds):,.0f} ({way})" for seconds, way in timed]
    return [str(n_query), *speeds, str(ratio(them, us)), str(ratio(vectorized, us)), f"at least {expected}"]


def main() -> None:
    """Print the table, or be one of the workers."""
    parser = argparse.ArgumentParser(description="Time meta-training beside `higher` and `torch.func.vmap`.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--worker", choices=("ours", "higher", "vmap"), help=argparse.SUPPRESS)
    parser.add_argument("--query", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bf16", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        work(arguments.worker, device, arguments.query, arguments.bf16)
        return
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {arguments.threads} threads"
    print(f"ANIL, conv4, {N_WAY}-way {N_SHOT}-shot, {META_BATCH} episodes an outer step, on {where}; images a second.")
    print(machine("torch", "higher", "numpy"), "\n")
    header = [
        "queries a class",
        "edge-adapt",
        "higher",
        "vmap",
        f"ratio to higher ({ROUNDS} turns)",
        "to vmap",
        "expected",
    ]
    print(table(header, [compare(device, n_query) for n_query in EXPECTED]))


if __name__ == "__main__":
    main()
