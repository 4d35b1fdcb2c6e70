"""ONNX Runtime Web's own files, which are not ours to ship.

They come from a copy of its npm package, from the user's cache, or from the npm registry.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from edge_adapt.runtime.data.pixel_cache import default_cache
from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.progress import Progress
from edge_adapt.runtime.words import reason, shown

VERSION = "1.30.0"
"""The version that the page is built and tested with; runtime/web/package-lock.json pins the same."""

SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of its tarball in the npm registry, as package-lock.json writes it."""

FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page loads of it, from its folder `dist`."""

REGISTRY = "https://registry.npmjs.org/"
_TARBALL = f"onnxruntime-web-{VERSION}.tgz"
_MOST_BYTES = 128 * 1024**2  # of a tarball, and of a file in it
_CHUNK = 1024**2
_SECONDS = 60.0  # without a byte


def onnxruntime_web(source: str | os.PathLike[str] | None = None) -> dict[str, bytes]:
    """`FILES` by name.

    Args:
        source: the npm package's tarball, or its folder, such as node_modules/onnxruntime-web; None takes the copy in the user's
            cache, which is downloaded first where there is none, from the registry that npm would ask.

    Raises:
        MissingDependencyError: there is no copy and none can be downloaded.
        EdgeAdaptError: what is there is another version or damaged.
    """
    if source is not None and Path(source).is_dir():
        return _of_folder(Path(source))
    path = default_cache() / _TARBALL if source is None else Path(source)
    if source is None and not path.exists():
        return _keep(path, _download())
    try:
        return _of_tarball(path.read_bytes(), os.fspath(path))
    except OSError as error:
        raise EdgeAdaptError(f"{os.fspath(path)} cannot be read ({reason(error)}).") from error


def _of_folder(folder: Path) -> dict[str, bytes]:
    return _read(lambda name: (folder / name).read_bytes(), os.fspath(folder))


def _of_tarball(data: bytes, where: str) -> dict[str, bytes]:
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != SHA512:
        raise EdgeAdaptError(
            f"{where} is not the tarball of onnxruntime-web {VERSION}, or damaged: its SHA-512 is another; delete it, or get it "
            f"with `npm pack onnxruntime-web@{VERSION}`."
        )
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return _read(lambda name: _member(archive, f"package/{name}"), where)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(name)
    return stream.read(_MOST_BYTES)


def _read(read: Callable[[str], bytes], where: str) -> dict[str, bytes]:
    """`FILES` of a package, by what reads a file of it."""
    try:
        version = json.loads(read("package.json")).get("version")
        files = {name: read(f"dist/{name}") for name in FILES}
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise EdgeAdaptError(
            f"{where} is not the npm package onnxruntime-web ({reason(error)}); give its folder or its tarball."
        ) from error
    if version != VERSION:
        raise EdgeAdaptError(
            f"{where} is onnxruntime-web {shown(str(version))}, and the page is tested with {VERSION}; give that version."
        )
    return files


def _keep(path: Path, data: bytes) -> dict[str, bytes]:
    """The files of a tarball that was downloaded, which is kept where that can be done."""
    files = _of_tarball(data, "what was downloaded")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda stream: stream.write(data))
    except (OSError, EdgeAdaptError):
        pass  # the next time downloads again
    return files


def _download() -> bytes:
    registry = os.environ.get("npm_config_registry") or REGISTRY  # noqa: SIM112, npm's own name
    url = f"{registry.rstrip('/')}/onnxruntime-web/-/{_TARBALL}"
    if not url.startswith(("https://", "http://")):
        raise EdgeAdaptError(f"npm_config_registry is {shown(registry)}, which is no http or https address.")
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            return _body(answer.read, total, f"downloading {url}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        fault = reason(inner if isinstance(inner, Exception) else error)
        raise MissingDependencyError(
            f"the page needs ONNX Runtime Web, and {shown(url)} cannot be downloaded ({fault}); on a machine with a "
            f"network run `npm pack onnxruntime-web@{VERSION}`, and give the file with --onnxruntime-web {_TARBALL}."
        ) from error


def _body(read: Callable[[int], bytes], total: int, label: str) -> bytes:
    body = bytearray()
    with Progress(label, total, "B") as progress:
        while chunk := read(_CHUNK):
            body += chunk
            progress.advance(len(chunk))
            if len(body) > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
    return bytes(body)
