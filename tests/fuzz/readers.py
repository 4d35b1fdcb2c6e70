"""Coverage-guided fuzzing of the readers that are Python alone: python -m tests.fuzz.readers [-max_total_time=600] [FOLDER]

Atheris, which is to be installed for it, changes bytes towards code that was not reached yet. Manifests, classifiers, histories,
arrays, containers and headers of images must be read, or refused with an EdgeAdaptError; what raises anything else ends the run,
and is kept as crash-*. Options are those of libFuzzer; FOLDER keeps what reaches new code, for the next run.
"""

from __future__ import annotations

import gc
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FunctionType

import numpy as np
from PIL import Image

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.bundle.classifier_json import record_from_json
from edge_adapt.runtime.bundle.container import read_directory, read_entry
from edge_adapt.runtime.bundle.history_json import history_from_json
from edge_adapt.runtime.bundle.manifest import manifest_from_json
from edge_adapt.runtime.bundle.npy import array_from_npy
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.headers import bytes_beside_image, webp_canvas
from tests.bundle_samples import GOLDEN_CLASSIFIER, read_zip
from tests.encoded_images import encode

_IMAGES = {"JPEG": "Jpeg", "PNG": "Png", "TIFF": "Tiff", "PPM": "Ppm"}
"""Formats whose headers are read, and their plugins in Pillow."""


def readers() -> dict[str, Callable[[bytes], object]]:
    """What reads bytes, by a name."""
    manifest = Bundle.open(GOLDEN_CLASSIFIER).manifest
    features = np.zeros((4, manifest.feature_size), np.float32)

    def contents(data: bytes) -> None:
        stream = io.BytesIO(data)
        for entry in read_directory(stream, "a.edge"):
            read_entry(stream, entry, "a.edge")

    return {
        "manifest": partial(manifest_from_json, path="a.edge"),
        "classifier": partial(record_from_json, manifest=manifest, path="a.edge"),
        "history": partial(
            history_from_json, features=features, feature_size=manifest.feature_size, value_count=0, path="a.edge"
        ),
        "array": partial(array_from_npy, where="a.edge: a.npy"),
        "container": contents,
        **{kind: partial(bytes_beside_image, plugin=plugin, name="a") for kind, plugin in _IMAGES.items()},
        "WEBP": webp_canvas,
    }


def sound() -> dict[str, list[bytes]]:
    """What each of them reads."""
    entries = read_zip(GOLDEN_CLASSIFIER)
    image = Image.new("RGB", (20, 10))
    shot = '{"label": "b", "name": "1.png", "sha256": "' + 64 * "0" + '", "row": 0}'
    edit = f'{{"what": "add b", "at": "2026-01-01T00:00:00Z", "lost": [], "gained": [{shot}]}}'
    return {
        "manifest": [entries["manifest.json"]],
        "classifier": [entries["classifier.json"]],
        "history": [f'{{"done": 1, "edits": [{edit}]}}'.encode()],
        "array": [data for name, data in entries.items() if name.endswith(".npy")],
        "container": [GOLDEN_CLASSIFIER.read_bytes()],
        **{kind: [encode(image, kind), encode(image, kind, progressive=True)] for kind in (*_IMAGES, "WEBP")},
    }


def read(uses: Sequence[Callable[[bytes], object]], data: bytes) -> None:
    """Have the reader that the first byte says read the others."""
    if data:
        with suppress(EdgeAdaptError):
            uses[data[0] % len(uses)](data[1:])


def main() -> None:
    """Fuzz as the command line says."""
    try:
        import atheris
    except ImportError:
        sys.exit("Atheris is not installed; `pip install atheris` brings it (CPython on Linux and macOS).")
    for function in gc.get_objects():  # all there are would take minutes
        if isinstance(function, FunctionType) and str(function.__module__).startswith("edge_adapt.runtime."):
            atheris.instrument_func(function)
    uses = list(readers().values())
    with tempfile.TemporaryDirectory() as seeds:
        for number, files in enumerate(sound().values()):
            for index, data in enumerate(files):
                (Path(seeds) / f"{number}-{index}").write_bytes(bytes([number]) + data)
        atheris.Setup([*sys.argv, seeds], partial(read, uses))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
