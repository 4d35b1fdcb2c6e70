"""What test_distributed.py has torchrun start, and start again: one process of a training that loses another the first time.

torchrun --nproc-per-node 2 --max-restarts 1 -m tests.restarted_process DATA RUN
"""

from __future__ import annotations

import os
import signal
import sys

from edge_adapt.cli import main as edge_adapt
from edge_adapt.methods.objective import StepMetrics
from edge_adapt.training import curve, trainer
from edge_adapt.training.compute import Execution
from edge_adapt.training.outer_step import OuterStep
from tests.several_processes import COMMAND, LOST_AT


def main() -> None:
    """Train; the second process ends itself, the first time."""
    curve.draw = lambda checkpoint: b""
    trainer.CHECKPOINT_SECONDS = -1
    compute = OuterStep.compute

    def ended(self: OuterStep, iteration: int, execution: Execution, spent: float) -> StepMetrics | None:
        if (os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"], iteration) == ("0", "1", LOST_AT):
            os.kill(os.getpid(), signal.SIGKILL)
        return compute(self, iteration, execution, spent)

    OuterStep.compute = ended  # type: ignore[method-assign]
    data, run = sys.argv[1:]
    edge_adapt(["train", data, "-o", run, *COMMAND])


if __name__ == "__main__":
    main()
