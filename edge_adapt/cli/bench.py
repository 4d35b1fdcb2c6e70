"""The command `bench`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words

if TYPE_CHECKING:
    from edge_adapt.runtime.bench import Benchmark
    from edge_adapt.runtime.sessions import Provider


@click.command(epilog=words.examples("edge-adapt bench photos", "edge-adapt bench mine.edge --provider cpu --json"))
@click.argument("model", type=click.Path(), metavar="MODEL.edge|NAME")
@options.as_json
@options.provider
def bench(model: str, as_json: bool, provider: Provider) -> None:
    """Measure what a model costs on this machine: time, memory and size.

    From the start of Python to the first answer, and at 1, 2 and all threads: to embed an image and 25 support images, to adapt
    with features given, and to answer a query, a frame of 640 x 480 pixels in memory. A classifier, or what reads values, is
    adapted to its own support set; for a model without one, 5 classes with 5 images each are made up. Files are in the system's
    cache. Other programs cost time: let the machine rest.
    """
    from edge_adapt.runtime.bench import bench as measure

    measured = measure(model, provider=provider, progress=True)
    if as_json:
        words.print_json(asdict(measured))
    else:
        _print(measured)


def _print(measured: Benchmark) -> None:
    images = words.plural(measured.support_images, "image")
    support = f"{measured.n_way} classes, {images}" if measured.n_way else f"{images} of known values"
    start, memory = measured.cold_start, measured.peak_memory
    lines = {
        "model": f"{measured.file}, {words.size(measured.size)}",
        "machine": measured.machine,
        "runs on": f"{measured.provider} of ONNX Runtime {measured.onnxruntime}",
        "support set": f"{support}, {'made up' if measured.synthetic else 'its own'}; "
        f"{words.plural(measured.steps, 'step')}",
        "cold start": f"{words.milliseconds(start.median)} (95%: {words.milliseconds(start.p95)}), "
        "from the start of Python to the first answer",
        "peak memory": "not known on this system" if memory is None else f"{words.size(memory)}, to the first answer",
    }
    for key, value in lines.items():
        words.say(f"{key:<13}{value}")
    threads = sorted({latency.threads for latency in measured.latencies})
    names = list(dict.fromkeys(latency.what for latency in measured.latencies))
    cells = {(latency.what, latency.threads): latency for latency in measured.latencies}
    click.echo(f"\n{'':<26}" + "".join(f"{words.plural(count, 'thread'):>11}{'95%':>11}" for count in threads))
    for name in names:
        row = (
            words.milliseconds(value)
            for count in threads
            for value in (cells[name, count].median, cells[name, count].p95)
        )
        words.say(f"{name:<26}" + "".join(f"{value:>11}" for value in row))
