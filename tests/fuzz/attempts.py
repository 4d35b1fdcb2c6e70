"""What the fuzzers share: hostile files are used in a child process, and what does harm there is kept.

A use may succeed, or refuse the file in one sentence. Anything else is a fault: another error, a sentence that no terminal should
print, more seconds or more memory than allowed, and a process that dies or never answers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from edge_adapt.runtime.bench import peak_memory
from edge_adapt.runtime.errors import EdgeAdaptError

SECONDS, CHARACTERS = 5.0, 500
"""What one use may take at most, and how long what a sentence says of one file may be."""

_MOST_THREADS = 4
_PATIENCE = 60.0  # seconds after which a process that does not answer is ended
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Attempt:
    """What came of a file.

    Attributes:
        outcome: what the use says, `refused`, `contained` where a child process kept a bundle from harm, `raises` or `dies`.
        sentence: of a refusal.
        seconds: that it took.
        fault: what is wrong with that; empty where nothing is.
    """

    outcome: str
    sentence: str = ""
    seconds: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class Fuzzer:
    """One kind of hostile file.

    Attributes:
        suffix: of the files.
        hostile: makes one from a source of choices.
        use: what is done with one, which returns the outcome or raises EdgeAdaptError; a function of a module.
        most: MiB that the process may hold.
        threads: files that are used side by side.
        above_idle: these are above what the process holds before it sees a file.
    """

    suffix: str
    hostile: Callable[[random.Random], bytes]
    use: Callable[[Path], str]
    most: int
    threads: int = 1
    above_idle: bool = False


def attempt(use: Callable[[Path], str], file: Path) -> Attempt:
    """Use a file, and judge what comes of it."""
    started, sentence = time.monotonic(), ""
    try:
        outcome = use(file)
    except EdgeAdaptError as error:
        sentence = str(error)
        outcome = "contained" if "do without this file" in sentence else "refused"
    except Exception:
        return Attempt("raises", fault=traceback.format_exc())
    seconds, fault = time.monotonic() - started, ""
    if seconds > SECONDS:
        fault = f"took {seconds:.1f} s"
    elif max(map(len, sentence.split("; "))) > CHARACTERS or _UNPRINTABLE.search(sentence):
        fault = f"says {sentence[:2000]!r}"
    return Attempt(outcome, sentence, seconds, fault)


def damaged(data: bytes, choose: random.Random) -> bytes:
    """Bytes of which some are changed, cut out, doubled or appended."""
    if not data:
        return b"\0"
    start = choose.randrange(len(data))
    end = min(len(data), start + choose.choice((1, 1, 4, 100)))
    change = choose.randrange(4)
    if change == 0:
        return data[:start] + bytes(choose.randrange(256) for _ in range(end - start)) + data[end:]
    if change == 1:
        return data[:start] + data[end:]
    return data[:end] + data[start:] if change == 2 else data + data[start:end]


class _Child:
    """A process that uses files, several at a time; after its death another one."""

    def __init__(self, use: Callable[[Path], str]) -> None:
        self._use = use
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._answers, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._use), daemon=True)
        self._process.start()
        theirs.close()
        self.idle = self._answers.recv()

    def attempts(self, files: list[Path]) -> tuple[list[Attempt], float]:
        """What came of each file, and the MiB that the process held at most meanwhile."""
        self._answers.send(files)
        try:
            if not self._answers.poll(_PATIENCE):
                raise EOFError
            found: tuple[list[Attempt], float] = self._answers.recv()
            return found
        except EOFError:
            self._process.join(1)
            status = self._process.exitcode
            how = f"no answer in {_PATIENCE:.0f} s" if status is None else f"the process ended with status {status}"
            self.end()
            self._start()
            return [Attempt("dies", fault=how)] * len(files), 0.0

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, use: Callable[[Path], str]) -> None:
    """Use what comes in until the other side ends this process."""
    warnings.simplefilter("ignore")
    connection.send(_peak())
    with ThreadPoolExecutor(_MOST_THREADS) as pool:
        while True:
            files = connection.recv()
            with suppress(OSError):  # only Linux forgets the peak so far
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            found = list(pool.map(partial(attempt, use), files))
            connection.send((found, _peak()))


def _peak() -> float:
    """MiB that this process held at most, or the largest that it started and has ended."""
    own, started = peak_memory() or 0, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, started) / 2**20


@dataclass
class Report:
    """What came of many files.

    Attributes:
        outcomes: how often each.
        faults: the number of each file with a fault, and what it is.
        slowest: seconds that one took at most.
        peak: MiB that the process held at most, or above what it held before the first file.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    peak: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.most_common())
        return f"{counts}; slowest {self.slowest:.2f} s; peak {self.peak:.0f} MiB; {len(self.faults)} faults"


def try_many(fuzzer: Fuzzer, count: int, seed: str = "0", keep: Path | None = None, label: str = "") -> Report:
    """Make and use so many files.

    Args:
        seed: the same files come of the same one.
        keep: where files with a fault are left; made where it is missing.
        label: of the bar that shows how far it is; none is shown without.
    """
    report, child = Report(), _Child(fuzzer.use)
    try:
        with TemporaryDirectory() as folder, tqdm(total=count, desc=label, disable=not label) as bar:
            for start in range(0, count, fuzzer.threads):
                files = {
                    index: Path(folder) / f"hostile-{index}{fuzzer.suffix}"
                    for index in range(start, min(start + fuzzer.threads, count))
                }
                for index, file in files.items():
                    file.write_bytes(fuzzer.hostile(random.Random(f"{seed} {index}")))
                _judge(report, fuzzer, child, files)
                for index in files.keys() & report.faults.keys():
                    tqdm.write(f"{label} {index}: {report.faults[index]}")
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{seed}-{index}{fuzzer.suffix}").write_bytes(files[index].read_bytes())
                for file in files.values():
                    file.unlink()
                bar.update(len(files))
    finally:
        child.end()
    return report


def _judge(report: Report, fuzzer: Fuzzer, child: _Child, files: dict[int, Path]) -> None:
    """Use files side by side, and each alone that was slow or died: the fault may be a neighbour's."""
    found, peak = child.attempts(list(files.values()))
    peak -= child.idle if fuzzer.above_idle else 0
    report.peak = max(report.peak, peak)
    for (index, file), made in zip(files.items(), found, strict=True):
        result = made
        if len(files) > 1 and (made.outcome == "dies" or made.seconds > SECONDS):
            ((result,), _) = child.attempts([file])
        report.outcomes[result.outcome] += 1
        report.slowest = max(report.slowest, result.seconds)
        fault = result.fault or (f"held {peak:.0f} MiB, with its neighbours" if peak > fuzzer.most else "")
        if fault:
            report.faults[index] = fault


def run(description: str, count: int, fuzzers: Mapping[str, Fuzzer]) -> None:
    """Try many of each kind as the command line says, print what came of them, and exit with 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count, help="Files of each kind.")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--keep", type=Path, default=Path("hostile-files"), help="Where files with a fault are kept.")
    arguments = parser.parse_args()
    faults = 0
    for kind, fuzzer in fuzzers.items():
        report = try_many(fuzzer, arguments.count, arguments.seed, arguments.keep, kind)
        print(f"{kind}: {report}", flush=True)
        faults += len(report.faults)
    sys.exit(bool(faults))
