"""What the steps of an inner loop on all layers cost in meta-training: time and memory against their number.

    python benchmarks/inner_steps.py [--device cpu|cuda] [--threads N]

MAML on conv4 at 28x28, 5-way 5-shot, 5 queries a class, an episode at a time: the second-order gradient, the same with
`--recompute`, which keeps nothing of an inner step and computes it again in the backward pass, and the first-order gradient.
"""

from __future__ import annotations

import argparse
import resource
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.measuring import machine, ratio, table, take_orders, worker
from benchmarks.meta_training import as_trained, dataset
from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.training.build import build_learner
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import drawing_from

STEPS = (1, 2, 5, 10)
WAYS = ("second order", "recomputed", "first order")
META_BATCH, ROUNDS, MIB = 4, 5, 1 << 20


def work(way: str, steps: int, device: torch.device) -> None:
    """Be a worker: say how much memory an outer step takes, in MiB, then take steps."""
    config = TrainingConfig.of(
        method="maml", grayscale=True, n_way=5, n_shot=5, n_query=5, steps=steps, meta_batch=META_BATCH,
        first_order=way == "first order", recompute=way == "recomputed",
    )  # fmt: skip
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3])).to(device)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    drawing = drawing_from(ImageSampler(dataset(), device), config)
    objective = config.method.objective(learner, drawing)
    one_at_a_time = Execution(1, False)
    before = _peak(device)
    step = as_trained(learner, objective, drawing.generator, one_at_a_time)
    step()
    step()
    take_orders(
        step,
        f"{(_peak(device) - before) / MIB:.0f}",
        *([torch.cuda.synchronize] if device.type == "cuda" else []),
    )


def _peak(device: torch.device) -> int:
    """The most memory so far, bytes: of PyTorch on a GPU, of the process otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def compare(steps: int) -> list[str]:
    """Time all in turn, and give a row of the table."""
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(way, "--steps", str(steps))) for way in WAYS]
        turns = [[step() for step, _ in workers] for _ in range(ROUNDS)]
    second, *others = (list(column) for column in zip(*turns, strict=True))
    times = [f"{1000 * median(second) / META_BATCH:.0f} ms", *(str(ratio(other, second)) for other in others)]
    return [str(steps), *times, *(f"{memory} MiB" for _, memory in workers)]


def main() -> None:
    """Print the table, or be one of the workers."""
    parser = argparse.ArgumentParser(description="Time and weigh outer steps against the number of inner steps.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        work(arguments.worker, arguments.steps, torch.device(arguments.device))
        return
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads"
    print(f"MAML, conv4, 5-way 5-shot, float32, an episode at a time, on {where}.")
    print(machine("torch"), "\n")
    second, recomputed, first = WAYS
    header = [
        "inner steps", f"{second}, a task", f"{recomputed} / {second}", f"{first} / {second}",
        *(f"memory, {way}" for way in WAYS),
    ]  # fmt: skip
    print(table(header, [compare(steps) for steps in STEPS]))


if __name__ == "__main__":
    main()
