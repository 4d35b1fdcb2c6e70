"""Latency of the embed graph of `edge` beside that of conv4, under ONNX Runtime.

    python benchmarks/backbones.py [--threads N]

Both are exported as `edge-adapt export` does, with weights at random: they make no difference to the time. A bundle's path in
place of a name is measured as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from benchmarks.measuring import machine, ratio, table, time_in_turn
from edge_adapt.export.embed.from_torch import embed_graph
from edge_adapt.networks.backbones import BACKBONES
from edge_adapt.networks.learner import Embedding
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.sessions import Session

PREPROCESSING = Preprocessing(84, 84, 3)
ROUNDS = 40
BATCHES = (1, 25)


def session(name: str, threads: int) -> Session:
    """The embed graph of a backbone by name, or of a bundle."""
    if name in BACKBONES:
        torch.manual_seed(0)
        embedding = Embedding(BACKBONES[name](3, "batch"), torch.full((3,), 0.45), torch.full((3,), 0.27))
        graph = embed_graph(embedding, PREPROCESSING)
    else:
        graph = Bundle.open(name).graph("embed.onnx")
    return Session(graph, name, ("images",), threads=threads)


def compare(one: str, other: str, batch: int, threads: int, rounds: int = ROUNDS) -> list[str]:
    """A row: milliseconds of both, and the ratio."""
    images = np.random.default_rng(0).integers(0, 256, (batch, 84, 84, 3)).astype(np.uint8)
    sessions = {name: session(name, threads) for name in (one, other)}
    candidates = {name: lambda ready=ready: ready.run({"images": images}) for name, ready in sessions.items()}
    seconds = time_in_turn(candidates, rounds, calls=max(1, 25 // batch))
    times = [f"{1000 * float(np.median(seconds[name])):.2f} ms" for name in (one, other)]
    return [str(batch), *times, str(ratio(seconds[one], seconds[other])), "at most 1.0"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time the embed graph of edge beside that of conv4.")
    parser.add_argument("one", nargs="?", default="edge", help="A backbone or a bundle of 84x84 RGB.")
    parser.add_argument("other", nargs="?", default="conv4")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(f"The embed graph, 84x84 RGB, {arguments.threads} thread(s); processor time, {ROUNDS} turns.")
    print(machine("onnxruntime", "torch"), "\n")
    rows = [compare(arguments.one, arguments.other, batch, arguments.threads) for batch in BATCHES]
    print(table(["batch", arguments.one, arguments.other, "ratio", "expected"], rows))


if __name__ == "__main__":
    main()
