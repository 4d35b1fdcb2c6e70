"""Whole processes, from start to exit: `edge-adapt` beside a script that does the same with no checks.

    python benchmarks/whole_process.py [MODEL.edge]

`classify` takes one image, `adapt` 25 of 5 classes, both from the samples. The floors, floor_classify.py and floor_adapt.py,
import numpy, PIL, onnxruntime, click, zipfile, json and hashlib, open the bundle, make the same sessions, decode the images and
run them. Reported are wall time and the peak of the resident memory.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import machine, ratio, table
from edge_adapt.runtime.model import MODELS

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "samples" / "characters"
ROUNDS = 25
EXPECTED = 1.15


# A process counts the memory of the one that starts it into its own peak, so a small one starts it and measures.
_LAUNCHER = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - began, usage.ru_maxrss, os.waitstatus_to_exitcode(status), file=sys.stderr)
"""


def run(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and MiB that a command takes, whose output is dropped; its first word is the path of a program.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command], check=True, capture_output=True, text=True
    )
    seconds, peak, status = launched.stderr.splitlines()[-1].split()
    if int(status):
        raise subprocess.CalledProcessError(int(status), command, launched.stdout, launched.stderr)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return float(seconds), int(peak) * unit / 2**20


def compare(name: str, ours: Sequence[str], floor: Sequence[str]) -> list[str]:
    """Run both in turn, and give a row of the table."""
    run(ours), run(floor)  # so that what they read is in the system's cache
    pairs = [(run(ours), run(floor)) for _ in range(ROUNDS)]
    row = [name]
    for index, scale, unit in ((0, 1000, "ms"), (1, 1, "MiB")):
        us, them = [pair[0][index] for pair in pairs], [pair[1][index] for pair in pairs]
        row += [f"{scale * median(us):.0f} {unit}", f"{scale * median(them):.0f} {unit}", str(ratio(us, them))]
    return [*row, f"at most {EXPECTED}"]


def main() -> None:
    """Print the table."""
    model = sys.argv[1] if len(sys.argv) > 1 else str(MODELS / "characters.edge")
    edge_adapt = str(Path(sys.executable).with_name("edge-adapt"))
    print(f"Whole processes: medians, and ratios over {ROUNDS} turns.")
    print(machine("edge-adapt", "onnxruntime", "numpy", "pillow", "click"), "\n")
    with tempfile.TemporaryDirectory() as folder:
        photos, mine = Path(folder) / "photos", str(Path(folder) / "mine.edge")
        for label in sorted(path.name for path in (SAMPLES / "support").iterdir())[:5]:
            shutil.copytree(SAMPLES / "support" / label, photos / label)
        image = str(min((SAMPLES / "query").glob("*/*.png")))
        rows = [
            compare(
                f"adapt, {len(list(photos.glob('*/*')))} images",
                [edge_adapt, "adapt", str(photos), "-o", mine, "--model", model],
                [sys.executable, str(HERE / "floor_adapt.py"), model, str(photos)],
            ),
            compare(
                "classify, 1 image",
                [edge_adapt, "classify", mine, image],
                [sys.executable, str(HERE / "floor_classify.py"), mine, image],
            ),
        ]
    print(table(["command", "time", "floor", "ratio", "peak memory", "floor", "ratio", "expected"], rows))


if __name__ == "__main__":
    main()
