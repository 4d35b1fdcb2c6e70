"""The copy task of neural Turing machines: bits wrong by the length of the sequence, up to and beyond the lengths trained on.

    python benchmarks/copying.py [--controller lstm|feed-forward] [--iterations 1500]

Graves et al. 2014, section 4.1: sequences of 1 to 20 random vectors of 8 bits, then a delimiter, then the same vectors are to be
given with nothing to look at. A training step is 16 sequences of one length; Adam at 0.001, gradients no longer than 10.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import machine, table
from edge_adapt.networks.ntm import Controller, NeuralTuringMachine

BITS, LONGEST, SEQUENCES, RATE, MAX_NORM, ITERATIONS = 8, 20, 16, 0.001, 10.0, 1500
LENGTHS = (1, 5, 10, 15, 20, 30, 50)


def sequences(length: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random bits [length, count, 8], and what the machine sees: them, a delimiter, and blanks [2 length + 1, count, 9]."""
    bits = torch.randint(0, 2, (length, count, BITS), generator=generator).float()
    seen = torch.zeros(2 * length + 1, count, BITS + 1)
    seen[:length, :, :BITS] = bits
    seen[length, :, BITS] = 1
    return bits, seen


def logits(machine: Callable[[Tensor], Tensor], seen: Tensor) -> Tensor:
    """What the machine says of the bits after the delimiter, [length, count, 8]."""
    return machine(seen)[len(seen) // 2 + 1 :]


@torch.no_grad()
def bits_wrong(machine: Callable[[Tensor], Tensor], length: int, count: int = 64) -> float:
    """The share of the bits of new sequences that are wrong."""
    bits, seen = sequences(length, count, torch.Generator().manual_seed(length))
    return float(((logits(machine, seen) > 0) != (bits > 0.5)).float().mean())


def trained(controller: Controller, iterations: int, seed: int = 0, report: int = 0) -> NeuralTuringMachine:
    """A machine after so many training steps; a line on standard error every `report` of them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        machine = NeuralTuringMachine(BITS + 1, BITS, controller)
    optimizer = torch.optim.Adam(machine.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(seed)
    for iteration in range(iterations):
        length = int(torch.randint(1, LONGEST + 1, (), generator=generator))
        bits, seen = sequences(length, SEQUENCES, generator)
        loss = functional.binary_cross_entropy_with_logits(logits(machine, seen), bits)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(machine.parameters(), MAX_NORM)
        optimizer.step()
        if report and (iteration + 1) % report == 0:
            wrong = ", ".join(f"{length}: {100 * bits_wrong(machine, length):.2f}" for length in LENGTHS)
            print(f"step {iteration + 1}: bits wrong, percent, by length {wrong}", file=sys.stderr, flush=True)
    return machine


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(description="Train a neural Turing machine to copy.")
    parser.add_argument("--controller", choices=["lstm", "feed-forward"], action="append")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine("torch"), "\n")
    rows = []
    for controller in arguments.controller or ["lstm", "feed-forward"]:
        began = time.process_time()
        copier = trained(controller, arguments.iterations, report=250)
        minutes = (time.process_time() - began) / 60
        rows.append([controller, *(f"{100 * bits_wrong(copier, n):.2f}" for n in LENGTHS), f"{minutes:.0f} min"])
    print(f"Bits wrong, percent, after {arguments.iterations} steps of {SEQUENCES} sequences, by length.\n")
    print(table(["controller", *map(str, LENGTHS), "one core"], rows))


if __name__ == "__main__":
    main()
