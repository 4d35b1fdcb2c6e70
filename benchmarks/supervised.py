"""Images a second of episodic meta-training beside a plain supervised loop over the same network: what episodes cost.

    python benchmarks/supervised.py [--device cuda] [--threads N]

Both draw random images from a data set in memory, normalize them, and take steps of Adam through conv4 at 84x84 in the same
precision, layout and number of images at once. The plain loop is PyTorch alone: a linear layer on the features, cross-entropy.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.measuring import machine, ratio, table
from benchmarks.meta_training import Step, as_trained
from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.networks.backbones import BACKBONES
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.networks.memory import keep_freed_memory
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training import autotune
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import drawing_from

CLASSES, PER_CLASS, SIZE = 64, 60, 84
FEATURES = 320
"""Of conv4 on images of this size."""

CONFIG = TrainingConfig.of(backbone="conv4", image_size=SIZE, n_way=5, n_shot=5, n_query=5, steps=5, meta_batch=4)
IMAGES = CONFIG.meta_batch * CONFIG.episodes.n_way * CONFIG.episodes.images
ROUNDS = 20
EXPECTED = 0.9


def dataset() -> ImageDataset:
    """Images of noise: what they show makes no difference to the time."""
    images = np.random.default_rng(0).integers(0, 256, (CLASSES * PER_CLASS, SIZE, SIZE, 3)).astype(np.uint8)
    return ImageDataset("noise", images, tuple(map(str, range(CLASSES))), np.arange(0, len(images) + 1, PER_CLASS))


def episodic(sampler: ImageSampler, device: torch.device) -> tuple[Step, Execution]:
    """Our outer step, and how its meta-batch is computed."""
    embedding = Embedding(BACKBONES["conv4"](3, "batch"), torch.full((3,), 0.5), torch.full((3,), 0.3))
    learner = MetaLearner(embedding, GradientHead("prototype")).to(device)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    drawing = drawing_from(sampler, CONFIG)
    objective = CONFIG.method.objective(learner, drawing)
    execution = autotune.choose(learner, device, objective)
    return as_trained(learner, objective, drawing.generator, execution), execution


def supervised(data: ImageDataset, device: torch.device, at_once: int, bf16: bool) -> Step:
    """A step on as many images, `at_once` of them together."""
    network = nn.Sequential(BACKBONES["conv4"](3, "batch"), nn.Linear(FEATURES, CLASSES)).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.from_numpy(data.images).to(device)
    labels = torch.arange(CLASSES, device=device).repeat_interleave(PER_CLASS)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)

    def step() -> None:
        optimizer.zero_grad()
        for chosen in torch.randint(len(images), (IMAGES,), device=device).split(at_once):  # type: ignore[no-untyped-call]
            pixels = ((images[chosen].float() - 127.5) / 76.5).permute(0, 3, 1, 2)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = functional.cross_entropy(network(pixels), labels[chosen])
            (loss * len(chosen) / IMAGES).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def seconds(step: Step, device: torch.device) -> float:
    """Of one step, on the clock."""
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time meta-training beside a plain supervised loop.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    if device.type == "cpu":
        keep_freed_memory()
    data = dataset()
    ours, execution = episodic(ImageSampler(data, device), device)
    at_once = execution.micro_batch * IMAGES // CONFIG.meta_batch
    plain = supervised(data, device, at_once, execution.bf16)
    for step in (ours, plain):
        seconds(step, device)
    pairs = [(seconds(ours, device), seconds(plain, device)) for _ in range(ROUNDS)]
    us, them = zip(*pairs, strict=True)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {arguments.threads} threads"
    how = f"{at_once} images at once, {'bfloat16' if execution.bf16 else 'float32'}"
    print(
        f"conv4, {SIZE}x{SIZE} RGB, ANIL {CONFIG.n_way}-way {CONFIG.n_shot}-shot, on {where}, {how}; images a second."
    )
    print(machine("torch", "numpy"), "\n")
    row = [*(f"{IMAGES / median(times):,.0f}" for times in (us, them)), str(ratio(them, us)), f"at least {EXPECTED}"]
    print(table(["episodes", "plain supervised", f"ratio ({ROUNDS} turns)", "expected"], [row]))


if __name__ == "__main__":
    main()
