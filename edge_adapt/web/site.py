"""A static site that teaches and classifies in the browser: its files, and how they are written to a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_adapt.runtime import __version__
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.model import load
from edge_adapt.runtime.words import reason
from edge_adapt.web.onnxruntime_web import onnxruntime_web

if TYPE_CHECKING:
    from edge_adapt.runtime.graphs import Trust

MODEL = "model.edge"
"""What the bundle is called on a site."""

SERVICE_WORKER = "sw.js"
"""Which keeps the site for use without a network; its first line says what a site consists of."""

_OF_SITES = (SERVICE_WORKER, "worker.js", "ort/LICENSE")
"""What only the page of a site needs, which computes by itself."""

_PAGE = Path(__file__).parent / "page"
_FIRST_LINE = b"self.EDGE_ADAPT_SITE="


def page_files() -> dict[str, bytes]:
    """The compiled page by path: HTML, CSS, JavaScript, icons and the web app manifest; without a model and its runtime."""
    files = (path for path in sorted(_PAGE.rglob("*")) if path.is_file())
    return {path.relative_to(_PAGE).as_posix(): path.read_bytes() for path in files}


def service_page_files() -> dict[str, bytes]:
    """The page by path, as a service gives it: what it asks, it asks the service, and it keeps nothing for use without one."""
    files = {path: data for path, data in page_files().items() if path not in _OF_SITES}
    files["index.html"] = files["index.html"].replace(b"<html ", b'<html data-backend="service" ', 1)
    return files


def site_files(
    model: str | os.PathLike[str], runtime: str | os.PathLike[str] | None = None, trust: Trust = "known"
) -> dict[str, bytes]:
    """All files of a site by path, the service worker last.

    Args:
        model: what the page begins with: a bundle, a classifier or a regressor, or the name of a bundled model.
        runtime: where ONNX Runtime Web comes from, as `onnxruntime_web` takes it.
        trust: in the model, as `load` takes it.

    Raises:
        BundleError: the model is missing or damaged.
        EdgeAdaptError: ONNX Runtime Web cannot be had.
    """
    bundle = load(model, trust=trust).graphs.bundle
    bundle.verify()
    files = page_files()
    worker = files.pop(SERVICE_WORKER)
    files |= {f"ort/{name}": data for name, data in onnxruntime_web(runtime).items()}
    files[MODEL] = bundle.path.read_bytes()
    return files | {SERVICE_WORKER: _site_line(files, worker) + worker}


def _site_line(files: Mapping[str, bytes], worker: bytes) -> bytes:
    """What a site consists of. The worker is another where a file is, which is how a browser notices."""
    digest = hashlib.sha256(worker)
    for path, data in files.items():
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    site = {"edge-adapt": __version__, "version": digest.hexdigest()[:16], "files": sorted(files)}
    return _FIRST_LINE + json.dumps(site).encode() + b";\n"


def write_site(files: Mapping[str, bytes], output: str | os.PathLike[str]) -> None:
    """Write a site to a folder, which is made; an earlier site there is replaced, file by file, each whole or not at all.

    Args:
        files: of `site_files`.
        output: the folder: a new one, an empty one, or an earlier site.

    Raises:
        EdgeAdaptError: the folder holds something else or cannot be written to; nothing is then changed.
    """
    folder = Path(output)
    former = _former_files(folder)
    for path, data in files.items():
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeAdaptError(f"{target.parent} cannot be made ({reason(error)}); choose another folder.") from error
        write_atomically(target, lambda stream, data=data: stream.write(data))  # type: ignore[misc]
    for path in former - set(files):
        (folder / path).unlink(missing_ok=True)


def _former_files(folder: Path) -> set[str]:
    """The files of the site in a folder; none of a new or empty one."""
    try:
        if not any(folder.iterdir()):
            return set()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise EdgeAdaptError(f"{folder} cannot be written to ({reason(error)}); choose another folder.") from error
    try:
        with (folder / SERVICE_WORKER).open("rb") as stream:
            line = stream.readline()
        if not line.startswith(_FIRST_LINE):
            raise ValueError
        listed = json.loads(line[len(_FIRST_LINE) :].rstrip(b";\n"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise EdgeAdaptError(
            f"{folder} holds files that are no site of edge-adapt; choose a new or an empty folder."
        ) from None
    return {path for path in listed if isinstance(path, str) and _is_inside(folder, path)}


def _is_inside(folder: Path, path: str) -> bool:
    return folder.resolve() in (folder / path).resolve().parents
