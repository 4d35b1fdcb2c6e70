"""How long the meta-learning of the head alone takes, on features of a frozen backbone.

    python benchmarks/head_training.py [--images 20000] [--feature-size 512]

The features are drawn: classes of 200 images around a centre each. What is timed is all that `edge-adapt wrap` and
`edge-adapt train --method head` do with features that they have.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch.nn import functional

from benchmarks.measuring import machine
from edge_adapt.methods.episodes import EpisodeSampler
from edge_adapt.methods.head_only import EPISODES, ITERATIONS, STEPS
from edge_adapt.training.frozen_head import FrozenHead

PER_CLASS = 200


def features(images: int, feature_size: int) -> EpisodeSampler:
    """Drawn features of length 1."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(images // PER_CLASS, 1, feature_size, generator=generator)
    noise = torch.randn(images // PER_CLASS, PER_CLASS, feature_size, generator=generator)
    drawn = functional.normalize((centres + 2 * noise).flatten(0, 1), dim=1)
    return EpisodeSampler(drawn, torch.arange(len(centres) + 1) * PER_CLASS, torch.device("cpu"))


def main() -> None:
    """Print images and seconds."""
    parser = argparse.ArgumentParser(description="Time the meta-learning of the head alone.")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--feature-size", type=int, default=512)
    arguments = parser.parse_args()
    drawn = features(arguments.images, arguments.feature_size)
    head = FrozenHead("prototype", drawn, "drawn features", STEPS)
    began, began_processor = time.perf_counter(), time.process_time()
    head.meta_train()
    seconds, processor = time.perf_counter() - began, time.process_time() - began_processor
    print(machine("torch"))
    print(
        f"{len(drawn.rows):,} images, {arguments.feature_size} features; {ITERATIONS} outer steps of {EPISODES} episodes."
    )
    print(f"{STEPS} inner steps: {seconds:.0f} s, {processor:.0f} s of processor time.")


if __name__ == "__main__":
    main()
