"""Second-order MAML: tasks a second, of this project and of loops over tasks written with `higher` and with TorchOpt.

    python -m pip install higher==0.2.1 torchopt==0.7.3
    python benchmarks/second_order.py [--device cpu|cuda] [--threads N]

All train conv4 with GroupNorm at 28x28 through 5 inner steps on every layer, 5-way with 1 and with 5 shots and 5 queries a class,
8 tasks to an outer step. The loops are what the two libraries' own examples write: `innerloop_ctx` and its `step`, and `MetaSGD`
(Grefenstette et al., "Generalized Inner Loop Meta-Learning", 2019, https://arxiv.org/abs/1910.01727; Ren et al., "TorchOpt",
2022, https://arxiv.org/abs/2211.06934). First the outer gradient of one task is compared with that of `higher`, all in float64:
same weights, same rates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.measuring import machine, ratio, table, take_orders, worker
from benchmarks.meta_training import SIZE, Step, as_trained, dataset
from edge_adapt.methods.episodes import ImageSampler, labels_of
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.memory import keep_freed_memory
from edge_adapt.training import autotune
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import drawing_from

N_WAY, N_QUERY, STEPS, META_BATCH, RATE = 5, 5, 5, 8, 0.01
SHOTS = (1, 5)
ROUNDS = 10


def configuration(n_shot: int) -> TrainingConfig:
    """The head starts from zero, as theirs do."""
    return TrainingConfig.of(
        method="maml", initialization="zero", grayscale=True, image_size=SIZE, n_way=N_WAY, n_shot=n_shot, n_query=N_QUERY,
        steps=STEPS, meta_batch=META_BATCH,
    )  # fmt: skip


def ours(sampler: ImageSampler, device: torch.device, n_shot: int) -> tuple[Step, str]:
    """Our outer step, and how its meta-batch is cut."""
    if device.type == "cpu":
        keep_freed_memory()
    config = configuration(n_shot)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3])).to(device)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    drawing = drawing_from(sampler, config)
    objective = config.method.objective(learner, drawing)
    execution = autotune.choose(learner, device, objective)
    return as_trained(
        learner, objective, drawing.generator, execution
    ), f"{execution.micro_batch} at once, {'bfloat16' if execution.bf16 else 'float32'}"


def of_a_peer(name: str, sampler: ImageSampler, device: torch.device, n_shot: int) -> tuple[Step, str]:
    """An outer step of a loop over tasks."""
    model = nn.Sequential(Conv4(1, "group"), nn.Linear(64, N_WAY)).to(device)
    outer = torch.optim.Adam(model.parameters(), lr=0.002)
    generator = torch.Generator(device).manual_seed(0)
    support_labels, query_labels = labels_of(N_WAY, n_shot, device), labels_of(N_WAY, N_QUERY, device)
    task = _with_higher(model) if name == "higher" else _with_torchopt(model)

    def step() -> None:
        episodes = sampler.draw_episodes(META_BATCH, N_WAY, n_shot + N_QUERY, generator)
        outer.zero_grad()
        for images in ((episodes.float() / 255 - 0.5) / 0.3).movedim(-1, 3):  # [N, K, C, H, W]
            support, query = images[:, :n_shot].flatten(0, 1), images[:, n_shot:].flatten(0, 1)
            task(support, support_labels, query, query_labels)
        outer.step()

    return step, "a task at a time, float32"


Task = Callable[[Tensor, Tensor, Tensor, Tensor], None]
"""Support images and labels, query images and labels: adds the outer gradient of a task to that of the model."""


def _with_higher(model: nn.Module) -> Task:
    import higher

    inner = torch.optim.SGD(model.parameters(), lr=RATE)

    def task(support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor) -> None:
        with higher.innerloop_ctx(model, inner, copy_initial_weights=False) as (fast, fast_inner):
            for _ in range(STEPS):
                fast_inner.step(functional.cross_entropy(fast(support), support_labels))
            (functional.cross_entropy(fast(query), query_labels) / META_BATCH).backward()  # type: ignore[no-untyped-call]

    return task


def _with_torchopt(model: nn.Module) -> Task:
    import torchopt

    inner = torchopt.MetaSGD(model, lr=RATE)

    def task(support: Tensor, support_labels: Tensor, query: Tensor, query_labels: Tensor) -> None:
        before = torchopt.extract_state_dict(model, by="reference")
        inner_before = torchopt.extract_state_dict(inner, by="reference")
        for _ in range(STEPS):
            inner.step(functional.cross_entropy(model(support), support_labels))
        (functional.cross_entropy(model(query), query_labels) / META_BATCH).backward()  # type: ignore[no-untyped-call]
        torchopt.recover_state_dict(model, before)
        torchopt.recover_state_dict(inner, inner_before)

    return task


def gradient_difference() -> float:
    """The largest difference of our outer gradient from that of `higher`, over the largest magnitude; one task, float64."""
    import higher

    learner = build_learner(configuration(1), torch.tensor([0.5]), torch.tensor([0.3])).double()
    sampler = ImageSampler(dataset(), torch.device("cpu"))
    images = sampler.draw_episodes(1, N_WAY, 1 + N_QUERY, torch.Generator().manual_seed(0))[0]
    normalized = ((images.double() / 255 - 0.5) / 0.3).movedim(-1, 2)
    support, query = normalized[:, :1].flatten(0, 1), normalized[:, 1:].flatten(0, 1)
    labels, query_labels = labels_of(N_WAY, 1, images.device), labels_of(N_WAY, N_QUERY, images.device)

    parameters = list(learner.embedding.backbone.parameters())
    state, _ = learner.adapt_all_layers(support, labels, N_WAY, STEPS)
    loss = functional.cross_entropy(learner.predict_all_layers(query, state), query_labels)
    ours = torch.autograd.grad(loss, parameters)

    head = nn.Linear(64, N_WAY).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model = nn.Sequential(learner.embedding.backbone, head)
    groups: list[dict[str, Any]] = [{"params": parameters}, {"params": head.parameters()}]
    inner = torch.optim.SGD(groups, lr=RATE)
    with higher.innerloop_ctx(model, inner, copy_initial_weights=False) as (fast, fast_inner):
        # The rates of our head are in units of the features' energy, which depends on the backbone too.
        energy = learner.embedding.backbone(support).square().sum(1).mean() + 1
        for _ in range(STEPS):
            loss = functional.cross_entropy(fast(support), labels)
            fast_inner.step(loss, override={"lr": [RATE, N_WAY / energy]})
        theirs = torch.autograd.grad(functional.cross_entropy(fast(query), query_labels), parameters)
    largest = max(float(tensor.abs().max()) for tensor in ours)
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) / largest


def work(name: str, device: torch.device, n_shot: int) -> None:
    """Be a worker."""
    sampler = ImageSampler(dataset(), device)
    step, how = ours(sampler, device, n_shot) if name == "ours" else of_a_peer(name, sampler, device, n_shot)
    take_orders(step, how, *([torch.cuda.synchronize] if device.type == "cuda" else []))


def compare(device: torch.device, n_shot: int) -> list[str]:
    """Time all in turn, and give a row of the table."""
    shot = ("--shot", str(n_shot))
    names = ("ours", "higher", "torchopt")
    with (
        worker(names[0], *shot) as (our_step, our_way),
        worker(names[1], *shot) as (higher_step, higher_way),
        worker(names[2], *shot) as (torchopt_step, torchopt_way),
    ):
        turns = [(our_step(), higher_step(), torchopt_step()) for _ in range(ROUNDS)]
    seconds = dict(zip(names, zip(*turns, strict=True), strict=True))
    ways = (our_way, higher_way, torchopt_way)
    speeds = [f"{META_BATCH / median(seconds[name]):.1f} ({way})" for name, way in zip(names, ways, strict=True)]
    ratios = [str(ratio(seconds[name], seconds["ours"])) for name in names[1:]]
    return [str(n_shot), *speeds, *ratios, f"at least {1 if device.type == 'cpu' else 8}"]


def main() -> None:
    """Print the table, or be one of the workers."""
    parser = argparse.ArgumentParser(
        description="Time second-order MAML beside loops written with higher and TorchOpt."
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--worker", choices=("ours", "higher", "torchopt"), help=argparse.SUPPRESS)
    parser.add_argument("--shot", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        work(arguments.worker, device, arguments.shot)
        return
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {arguments.threads} threads"
    difference = f"{gradient_difference():.1e}"
    print(
        f"Outer gradient of one task against that of higher, float64: relative difference {difference} (at most 1e-5)."
    )
    print(f"Second-order MAML, conv4, {N_WAY}-way, {STEPS} inner steps, on {where}; tasks a second.")
    print(machine("torch", "higher", "torchopt"), "\n")
    header = [
        "shots",
        "edge-adapt",
        "higher",
        "torchopt",
        f"ratio to higher ({ROUNDS} turns)",
        "to torchopt",
        "expected",
    ]
    print(table(header, [compare(device, n_shot) for n_shot in SHOTS]))


if __name__ == "__main__":
    main()
