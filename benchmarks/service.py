"""`edge-adapt serve` under load, while it is edited: requests a second beside the embed graph's own rate on the same core.

    python benchmarks/service.py [--model photos] [--seconds 60] [--every 1]

The service runs on one core. Eight connections from a second process, on the others, send JPEGs as fast as they are answered,
for half of the time undisturbed, which gives the rates, and then while a ninth renames a class and takes that back. Every answer
has to be, to the last digit, that of the runtime to that image in one of the two states. Before and after, the embed graph alone
runs on that core, and the runtime answers from bytes without HTTP. On a machine that others share a process gets less of the
clock than of the processor: rates are of both.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import machine, table
from edge_adapt.runtime.adaptation import adapt
from edge_adapt.runtime.answers import answer_json
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.model import load_classifier

PHOTOS = Path(__file__).parents[1] / "samples" / "photos"
CONNECTIONS = 8
ALONE_SECONDS = 5
OLD, NEW = "gear", "cog"


@dataclass
class Load:
    """What came of the requests.

    Attributes:
        answered: how many were.
        wrong: what was answered otherwise than it should, the first of each connection.
        edits: that were answered.
    """

    answered: int = 0
    wrong: list[str] = field(default_factory=list)
    edits: int = 0


def expected_answers(mine: Classifier, images: Sequence[bytes]) -> list[list[Any]]:
    """The answers to each image that are right, one of each state."""
    states = (mine, mine.rename(OLD, NEW))
    return [
        [json.loads(json.dumps(answer_json("image", state.classify(image)))) for state in states] for image in images
    ]


def load(
    port: int, images: Sequence[bytes], right: Sequence[Sequence[Any]], seconds: float, every: float | None
) -> Load:
    """Ask over `CONNECTIONS` connections for so long, with an edit `every` so many seconds, or with none."""
    outcome, until, lock = Load(), time.monotonic() + seconds, threading.Lock()

    def ask(first: int) -> None:
        connection, number = http.client.HTTPConnection("127.0.0.1", port, timeout=30), first
        while time.monotonic() < until:
            number = (number + 1) % len(images)
            connection.request("POST", "/classify", images[number], {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            said = response.read()
            if response.status != 200 or json.loads(said) not in right[number]:
                outcome.wrong.append(f"{response.status} {said[:200]!r}")
                return
            with lock:
                outcome.answered += 1

    def edit(every: float) -> None:
        rename = json.dumps({"label": OLD, "name": NEW})
        while time.monotonic() < until:
            for path, body in (("/rename", rename), ("/undo", None)):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                said = response.read()
                connection.close()
                if response.status != 200:
                    outcome.wrong.append(f"{path}: {response.status} {said[:200]!r}")
                    return
                outcome.edits += 1
                time.sleep(every)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    if every is not None:
        threads.append(threading.Thread(target=edit, args=(every,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def rates_alone(path: Path, images: Sequence[bytes]) -> list[float]:
    """On one thread and the first core, a second: images embedded, of the clock and of the processor, and likewise answered."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    mine = load_classifier(path, "cpu", threads=1)
    size = mine.manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (1, size.height, size.width, size.channels), np.uint8)

    def answers() -> None:
        for image in images:
            json.dumps(answer_json("", mine.classify(image)))

    rates = []
    for work, count in ((lambda: mine.graphs.embed(pixels), 1), (answers, len(images))):
        work()
        began, processor, done = time.monotonic(), time.process_time(), 0
        while time.monotonic() - began < ALONE_SECONDS:
            work()
            done += count
        rates += [done / (time.monotonic() - began), done / (time.process_time() - processor)]
    os.sched_setaffinity(0, before)
    return rates


def processor_seconds(process: int) -> float:
    """That a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mebibytes(process: int) -> float:
    """Of memory that a process has."""
    pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(path: Path, name: str, images: Sequence[bytes], seconds: float, every: float) -> list[object]:
    """A row of the table; raises where an answer is wrong."""
    right = expected_answers(load_classifier(path, "cpu", threads=1), images)
    cores = os.sched_getaffinity(0)
    before = rates_alone(path, images)
    command = [
        sys.executable,
        "-m",
        "edge_adapt",
        "serve",
        str(path),
        "--port",
        "0",
        "--threads",
        "1",
        "--provider",
        "cpu",
    ]
    os.sched_setaffinity(0, {min(cores)})
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(0, cores - {min(cores)} or cores)
    try:
        assert service.stdout is not None
        found = re.search(r":(\d+);", service.stdout.readline())
        assert found is not None
        port = int(found[1])
        load(port, images, right, min(5, seconds), every)
        processor = processor_seconds(service.pid)
        quiet = load(port, images, right, seconds / 2, None)
        processor, memory = processor_seconds(service.pid) - processor, mebibytes(service.pid)
        edited = load(port, images, right, seconds, every)
        memory_after = mebibytes(service.pid)
    finally:
        service.terminate()
        service.wait()
        os.sched_setaffinity(0, cores)
    after = rates_alone(path, images)
    if quiet.wrong or edited.wrong:
        raise SystemExit(f"wrong: {[*quiet.wrong, *edited.wrong][0]}")
    by_clock, by_processor = quiet.answered / (seconds / 2), quiet.answered / processor
    alone = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
    return [
        name,
        f"{quiet.answered + edited.answered:,}, {edited.edits}",
        f"{by_clock:.1f} / {alone[2]:.1f} / {alone[0]:.1f}",
        f"{by_processor:.1f} / {alone[3]:.1f} / {alone[1]:.1f}",
        f"{by_processor / alone[3]:.2f}",
        f"{by_processor / alone[1]:.2f}",
        f"{memory:.0f} to {memory_after:.0f} MiB",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="photos")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=1)
    arguments = parser.parse_args()
    print(machine("edge-adapt", "onnxruntime", "uvicorn", "starlette"), "\n")
    files = sorted((PHOTOS / "query").glob("*/*.jpg"))[::5]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.edge"
        adapt(PHOTOS / "support", model=arguments.model, provider="cpu").save(path)
        sets = {
            "of the model's size": [at_size(file, path) for file in files],
            "640 x 480": [file.read_bytes() for file in files],
        }
        rows = [measure(path, name, images, arguments.seconds, arguments.every) for name, images in sets.items()]
    rates = "a second: service / runtime / embed"
    header = ["JPEGs", "answers, edits", rates, "of the processor", "to the runtime", "to embed", "memory"]
    print(table(header, rows))


def at_size(file: Path, path: Path) -> bytes:
    """A photo as a JPEG of the size that a model takes."""
    size = load_classifier(path, "cpu").manifest.preprocessing
    stream = io.BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").resize((size.width, size.height)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


if __name__ == "__main__":
    main()
