"""How fast a model starts, embeds, adapts and answers on this machine, and how much memory it takes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.runtime.child import in_child
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.images.images import named
from edge_adapt.runtime.model import MetaModel, load, load_adapted, load_model
from edge_adapt.runtime.parallel import cores
from edge_adapt.runtime.progress import Progress
from edge_adapt.runtime.regressor.left_out import adapt_to_values
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.runtime.sessions import Provider, onnxruntime_version
from edge_adapt.runtime.timing import machine, seconds_of_calls

_STARTS = 5
_SECONDS, _LEAST = 0.5, 2  # of a measurement
_SUPPORT_IMAGES = 25
_WIDTH, _HEIGHT = 640, 480  # of a frame, as a camera gives it


@dataclass(frozen=True)
class Latency:
    """Seconds that something takes on the clock.

    Attributes:
        what: is measured.
        threads: of the CPU.
        median, p95: over the calls; seconds.
        calls: how many were timed.
    """

    what: str
    threads: int
    median: float
    p95: float
    calls: int


@dataclass(frozen=True)
class Benchmark:
    """What a model costs on this machine.

    Attributes:
        file: the bundle.
        size: of the bundle, bytes.
        machine: processor or board, cores, system and Python, in words.
        onnxruntime: the version of ONNX Runtime.
        provider: what really runs `embed`, in its words.
        n_way, support_images, steps: what is adapted to: classes, 0 of what reads values; images; gradient steps.
        synthetic: whether these are made up, for a meta-model has none of its own.
        cold_start: from the start of Python to the first answer, in a process of its own; files are in the system's cache.
        peak_memory: the most resident memory that this process held, bytes; None where the system does not say.
        latencies: at each number of threads, of `embed` of one image and of support images, of `adapt` with features given, and
            of a query.
    """

    file: str
    size: int
    machine: str
    onnxruntime: str
    provider: str
    n_way: int
    support_images: int
    steps: int
    synthetic: bool
    cold_start: Latency
    peak_memory: int | None
    latencies: tuple[Latency, ...]


def bench(model: str | os.PathLike[str], *, provider: Provider = "auto", progress: bool = False) -> Benchmark:
    """Measure what a model costs on this machine, with 1, with 2 and with all threads.

    A query is a frame of 640 x 480 pixels in memory: from the pixels to the label and the confidence, or to the values. What is
    adapted already is adapted to the features of its own support set; for a meta-model one is made up, 5-way 5-shot where it
    takes as many.

    Args:
        model: a path, or the name of a bundled model.
        provider: what runs `embed`, as `load` takes it.
        progress: show a bar.

    Raises:
        EdgeAdaptError: the model or the provider cannot be used.
    """
    loaded = load(model, provider)
    bundle = loaded.graphs.bundle
    with tempfile.TemporaryDirectory() as folder:
        path = bundle.path
        if isinstance(loaded, MetaModel):
            path = Path(folder) / "synthetic.edge"
            in_child(adapt_to_frames, str(bundle.path), provider, str(path))
        counts = [count for count in (1, 2) if count < cores()]
        with Progress("measuring", _STARTS + 4 * (len(counts) + 1), show=progress) as bar:
            seconds, memory = [], []
            for _ in range(_STARTS):
                started = in_child(first_answer, str(path), provider)
                seconds.append(started.seconds)
                memory.append(started.value)
                bar.advance()
            latencies = []
            for threads in (*counts, None):
                mine = load_adapted(path, provider, threads)
                for what, call in _calls(mine).items():
                    latencies.append(_latency(what, threads, seconds_of_calls(call, _SECONDS, _LEAST)))
                    bar.advance()
    return Benchmark(
        file=str(bundle.path),
        size=bundle.path.stat().st_size,
        machine=machine(),
        onnxruntime=onnxruntime_version(),
        provider=mine.graphs.provider,
        n_way=len(mine.support.labels),
        support_images=len(mine.support.targets),
        steps=mine.steps,
        synthetic=isinstance(loaded, MetaModel),
        cold_start=_latency("cold start", None, seconds),
        peak_memory=None if None in memory else max(memory),
        latencies=tuple(latencies),
    )


def adapt_to_frames(path: str, provider: Provider, classifier: str) -> None:
    """Adapt a meta-model to a support set that is made up, 5-way 5-shot or what the model takes of it, and save that."""
    model = load_model(path, provider)
    manifest = model.manifest
    n_way = min(5, manifest.max_ways or 5)
    n_shot = max(1, min(5, (manifest.max_support or 25) // n_way))
    shots = {f"class {way}": [_frame(n_shot * way + shot) for shot in range(n_shot)] for way in range(n_way)}
    model.adapt(shots).save(classifier)


def first_answer(path: str, provider: Provider) -> int | None:
    """Open what is adapted, ask it about a frame, and say how much memory that took, as `peak_memory` does."""
    _ask(load_adapted(path, provider), _frame(0))
    return peak_memory()


def peak_memory() -> int | None:
    """The most resident memory that this process has held, bytes; None where the system does not say.

    Linux: VmHWM, because `ru_maxrss` of a process that another one starts counts what that one held. macOS: `ru_maxrss`, in
    bytes. Other Unix: `ru_maxrss`, in KiB. Windows has neither.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _calls(mine: Classifier | Regressor) -> dict[str, Callable[[], object]]:
    """What is measured of what is adapted, by its name."""
    graphs, support = mine.graphs, mine.support
    preprocessing = graphs.manifest.preprocessing
    pixels = np.zeros((1, preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8)
    frames = [named(_frame(seed)) for seed in range(_SUPPORT_IMAGES)]
    if isinstance(mine, Regressor):
        adapt: Callable[[], object] = partial(adapt_to_values, graphs, support.features, support.targets, mine.steps)
    else:
        adapt = partial(graphs.adapt, support.features, support.targets, len(support.labels), mine.steps)
    return {
        "embed, 1 image": partial(graphs.embed, pixels),
        f"embed, {_SUPPORT_IMAGES} support images": lambda: list(graphs.embed_all(frames, as_shots=True)),
        "adapt, features given": adapt,
        "query, 1 image": partial(_ask, mine, _frame(_SUPPORT_IMAGES)),
    }


def _ask(mine: Classifier | Regressor, image: NDArray[np.uint8]) -> object:
    return mine.predict(image) if isinstance(mine, Regressor) else mine.classify(image)


def _frame(seed: int) -> NDArray[np.uint8]:
    """Coloured clouds, uint8 [H, W, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC))


def _latency(what: str, threads: int | None, seconds: Sequence[float]) -> Latency:
    median, p95 = np.quantile(seconds, (0.5, 0.95))
    return Latency(what, threads or cores(), float(median), float(p95), len(seconds))
