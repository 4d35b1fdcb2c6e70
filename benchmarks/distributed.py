"""Meta-training in several processes: episodes and images a second, beside one process.

    python benchmarks/distributed.py [--device cpu|cuda] [--processes N]

conv4 at 28x28 with ANIL, 5-way 1-shot, 5 queries a class, 32 episodes to an outer step. Each number of processes is started by
torchrun, as `train` would be, and takes outer steps as `train` does; on a CPU every process has one thread, and one process with
as many threads as there are processes stands beside them. They take turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.measuring import machine, ratio, table
from benchmarks.meta_training import META_BATCH, N_SHOT, N_WAY, STEPS, dataset
from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.networks.memory import keep_freed_memory
from edge_adapt.training import autotune, distributed
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.outer_step import OuterStep
from edge_adapt.training.start import drawing_from

N_QUERY = 5
ROUNDS, OUTER_STEPS = 3, 6


@distributed.joined()
def work(device: torch.device) -> None:
    """One process: take outer steps, of which the first process prints the median of the seconds."""
    if device.type == "cpu":
        keep_freed_memory()
    device = distributed.place(device)
    learner = MetaLearner(Embedding(Conv4(1), torch.tensor([0.5]), torch.tensor([0.3])), GradientHead("prototype"))
    learner.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = TrainingConfig.of(n_way=N_WAY, n_shot=N_SHOT, n_query=N_QUERY, steps=STEPS, meta_batch=META_BATCH)
    drawing = drawing_from(ImageSampler(dataset(), device), config)
    objective = config.method.objective(learner, drawing)
    optimizer = objective.optimizer(learner, 0.002)
    distributed.copy_from_first(list(learner.state_dict().values()))
    measured = autotune.choose(learner, device, objective, bf16=False, processes=distributed.processes())
    execution = distributed.of_first(lambda: measured)
    step = OuterStep(learner, objective, optimizer, drawing.generator, seed=0)
    seconds = []
    for iteration in range(3 + OUTER_STEPS):
        began = time.perf_counter()
        step.compute(iteration, execution, 0.0)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    if distributed.is_first():
        print(median(seconds[3:]), execution.micro_batch)


def launch(device: str, processes: int, threads: int) -> tuple[float, int]:
    """Seconds of an outer step, and how many episodes were computed together."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += [__file__, "--device", device, "--worker"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, micro_batch = ended.stdout.split()
    return float(seconds), int(micro_batch)


def main() -> None:
    """Print the table, or be one of the processes."""
    parser = argparse.ArgumentParser(description="Time meta-training in several processes beside one.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(torch.device(arguments.device))
        return
    several = arguments.processes
    candidates = {(1, 1), (several, 1)} if arguments.device == "cuda" else {(1, 1), (1, several), (several, 1)}
    rounds = [{each: launch(arguments.device, *each) for each in sorted(candidates)} for _ in range(ROUNDS)]
    print(f"ANIL, conv4, {N_WAY}-way {N_SHOT}-shot, {N_QUERY} queries a class, {META_BATCH} episodes an outer step.")
    print(machine("torch"), "\n")
    rows = []
    for each in sorted(candidates):
        seconds = [turn[each][0] for turn in rounds]
        episodes = META_BATCH / median(seconds)
        images = episodes * N_WAY * (N_SHOT + N_QUERY)
        faster = ratio([turn[1, 1][0] for turn in rounds], seconds)
        rows.append([*each, rounds[-1][each][1], f"{episodes:,.1f}", f"{images:,.0f}", str(faster)])
    header = [
        "processes",
        "threads of each",
        "episodes a micro-batch",
        "episodes/s",
        "images/s",
        f"against one ({ROUNDS} turns)",
    ]
    print(table(header, rows))


if __name__ == "__main__":
    main()
