"""Training conv4 on a CPU with its blocks compiled into one, beside PyTorch's layers one after the other.

    python benchmarks/fused_blocks.py [--threads N]

Forward and backward on one batch of noise under bfloat16 autocast, as a micro-batch of the meta-batch is computed. It needs a C++
compiler.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.measuring import machine, ratio, table, time_in_turn
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.memory import keep_freed_memory

BATCHES = ((1, 28, 80), (1, 28, 320), (3, 64, 200), (3, 84, 64))
"""Channels, pixels a side, images."""
ROUNDS = 15


def training(channels: int, size: int, count: int, fused: bool) -> Callable[[], None]:
    """A forward and a backward pass."""
    torch.manual_seed(0)
    backbone, images = Conv4(channels, fused=fused), torch.randn(count, channels, size, size)
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def passes() -> None:
        backbone.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            features = backbone(images)
        features.float().square().mean().backward()

    return passes


def compare(channels: int, size: int, count: int) -> list[str]:
    """A row: images a second of both, and the ratio."""
    candidates = {name: training(channels, size, count, name == "fused") for name in ("fused", "layers")}
    seconds = time_in_turn(candidates, ROUNDS, clock=time.perf_counter)
    speeds = [f"{count / median(seconds[name]):,.0f}" for name in candidates]
    return [f"{size}x{size}x{channels}", str(count), *speeds, str(ratio(seconds["layers"], seconds["fused"]))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time training conv4 with its blocks compiled into one.")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    print(f"Forward and backward of conv4, bfloat16, {arguments.threads} thread(s); images a second, {ROUNDS} turns.")
    print(machine("torch"), "\n")
    print(table(["images", "at once", "fused", "layers", "ratio"], [compare(*batch) for batch in BATCHES]))


if __name__ == "__main__":
    main()
