"""A bundle in lower precision beside the same model in float32: latency of `embed`, size, and accuracy.

    python benchmarks/quantization.py FP32.edge INT8.edge [DATA]
    python benchmarks/quantization.py RUN [DATA]

Of a run, both are exported first, and calibrated with the images that it kept. DATA is a folder or zip of classes that the model
was not trained on, for the accuracy. One thread is measured in processor time, all threads by the clock. The expectations are for
a processor with instructions for 8-bit dot products (VNNI).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Ratio, machine, ratio, table, time_in_turn
from edge_adapt.export.gates.precision import Precision
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import embed_dataset, evaluate_episodes
from edge_adapt.runtime.graphs import Graphs

ROUNDS = {1: 60, 25: 20}
"""The batch sizes, and how often each is timed."""
LATENCY, SIZE, DROP = 0.6, 0.3, 0.5
"""What is expected: at most these ratios, and at most so many points of accuracy lost."""
EPISODES = 600
SHOTS = (1, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description="The bundle in lower precision beside that in float32.")
    parser.add_argument("models", nargs="+", metavar="RUN | FP32.edge INT8.edge [DATA]")
    given = parser.parse_args().models
    is_run = Path(given[0]).is_dir()
    if not (1 if is_run else 2) <= len(given) <= (2 if is_run else 3):
        parser.error("give a run or two bundles, and then at most one data set")
    print(machine("onnxruntime", "numpy"))
    with tempfile.TemporaryDirectory() as folder:
        full, reduced = export_both(given[0], Path(folder)) if is_run else (Path(given[0]), Path(given[1]))
        data = load_dataset(given[-1], Bundle.open(full).manifest.preprocessing) if len(given) > 2 - is_run else None
        print(table(["what", "fp32", "reduced", "ratio", "expected"], [*costs(full, reduced)]))
        if data:
            header = ["episodes", "fp32", "reduced", "change", "expected"]
            print(f"\nAccuracy on {data.source}, {EPISODES} episodes:\n")
            print(table(header, [*accuracies(full, reduced, data)]))


def export_both(run: str, folder: Path) -> tuple[Path, Path]:
    """A run as a bundle in float32 and in int8."""
    from edge_adapt.bundles.from_run import export_bundle

    full, reduced = folder / "fp32.edge", folder / "int8.edge"
    export_bundle(run, full)
    export_bundle(run, reduced, precision=Precision("int8", allow_drop=100))
    return full, reduced


def costs(full: Path, reduced: Path) -> Iterator[tuple[object, ...]]:
    """Rows: latency by batch and threads, and size."""
    shape = Bundle.open(full).manifest.preprocessing
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (max(ROUNDS), shape.height, shape.width, shape.channels)).astype(np.uint8)
    for threads in (1, None):
        models = [Graphs(Bundle.open(path), "cpu", threads) for path in (full, reduced)]
        for batch, rounds in ROUNDS.items():
            seconds, quotient = _latency(models, images[:batch], rounds, threads)
            what = f"{batch} {'image' if batch == 1 else 'images'}, {'one thread' if threads else 'all threads'}"
            milliseconds = (f"{1e3 * value:.2f} ms" for value in seconds)
            yield what, *milliseconds, quotient, f"at most {LATENCY}"
    sizes = [path.stat().st_size for path in (full, reduced)]
    yield "size", *(f"{size / 1e6:.2f} MB" for size in sizes), f"{sizes[1] / sizes[0]:.2f}", f"at most {SIZE}"


def _latency(
    models: list[Graphs], images: NDArray[np.uint8], rounds: int, threads: int | None
) -> tuple[list[float], Ratio]:
    """Seconds of each, the least, and how many times the first the second takes."""
    full, reduced = models
    candidates = {"full": lambda: full.embed(images), "reduced": lambda: reduced.embed(images)}
    clock = time.process_time if threads else time.perf_counter
    seconds = time_in_turn(candidates, rounds, clock=clock)
    return [min(seconds[name]) for name in candidates], ratio(seconds["reduced"], seconds["full"])


def accuracies(full: Path, reduced: Path, data: ImageDataset) -> Iterator[tuple[object, ...]]:
    """Rows: the accuracy after adaptation, over the same episodes."""
    models = [Graphs(Bundle.open(path), "cpu") for path in (full, reduced)]
    features = [embed_dataset(model, data, model.manifest.support_views) for model in models]
    steps, n_way = models[0].manifest.default_steps, min(5, len(data.class_names))
    for n_shot in SHOTS:
        ours = [
            evaluate_episodes(
                model,
                data,
                EvaluationProtocol(n_way=n_way, n_shot=n_shot, n_query=15, episodes=EPISODES, steps=steps, seed=0),
                features=of_model,
            )
            for model, of_model in zip(models, features, strict=True)
        ]
        change = 100 * (ours[1].accuracy - ours[0].accuracy)
        shown = (f"{measured.accuracy:.2%} +- {measured.ci95:.2%}" for measured in ours)
        yield f"{n_way}-way {n_shot}-shot", *shown, f"{change:+.2f} points", f"at least -{DROP}"


if __name__ == "__main__":
    main()
