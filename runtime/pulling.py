"""Tasks and bundles from a server, each time as little as has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.bundle.task import is_task
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.files import locked, require_output, write_atomically
from edge_adapt.runtime.packing import unpack
from edge_adapt.runtime.words import reason, size

if TYPE_CHECKING:
    from http.client import HTTPMessage

_MOST_BYTES = 256 * 1024 * 1024
_SECONDS = 300  # for all of it
_SILENT_SECONDS = 30
_REDIRECTIONS = 5
_BLOCK = 1 << 16
_UNCHANGED = 304


@dataclass(frozen=True)
class _Pulled:
    """What is noted beside a file that was pulled.

    Attributes:
        asked: URL, model and SHA-256 of the key: what was asked for, which makes an ETag mean something.
        etag: of what the server sent; empty where it sent none.
        files: the SHA-256 of the file that was replaced, if there was one, and last that of the file that was written.
    """

    asked: list[str]
    etag: str
    files: list[str]


def pull(
    url: str,
    path: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    verify: str | os.PathLike[str] | None = None,
    token: str | None = None,
    replace: bool = False,
) -> bool:
    """Fetch a task that `pack` wrote, or a bundle, over HTTP or HTTPS, check it, and write what it makes.

    The file is replaced whole, and only by what has passed every check. What the server sent is noted beside it, in
    `.NAME.pulled`, so that a file which has not changed since costs one request and no bytes.

    Args:
        url: where it is; a redirection from HTTPS to HTTP is refused.
        path: the `.edge` file to write.
        model: as `unpack` takes it.
        verify: as `unpack` takes it; a bundle, which carries no signature, is then refused.
        token: to send as `Authorization: Bearer`, to the server of the URL alone.
        replace: write over a file that no pull wrote, or that was edited since.

    Returns:
        whether the file was written; False where it is what the server has already.

    Raises:
        EdgeAdaptError: the server cannot be reached, or does not answer as it should, in time, or with no more than 256 MiB; what
            it sends is damaged, of another model, or not signed so; or the file was edited since, or cannot be written.
        MissingDependencyError: the signature is to be verified, and the extra [sign] is not installed.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise EdgeAdaptError(f"{url} is no address of a server; give one that begins with https:// or http://.")
    require_output(path)
    target = Path(os.path.realpath(path))
    note = target.with_name(f".{target.name}.pulled")
    before, noted = _sha256(target), _noted(note)
    if before and not replace and (noted is None or before not in noted.files):
        why = "was not pulled" if noted is None else "was edited since it was pulled"
        raise EdgeAdaptError(
            f"{os.fspath(path)} {why}, and would be lost; move it away, or have it replaced (--replace)."
        )
    asked = [url, "" if model is None else os.fspath(model), "" if verify is None else _sha256(Path(verify))]
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if before and noted is not None and noted.asked == asked and noted.etag and noted.files[-1] == before:
        headers["If-None-Match"] = noted.etag
    with tempfile.TemporaryDirectory() as folder:
        received = Path(folder) / "received"
        etag = _fetched(url, headers, received)
        if etag is None:
            return False
        made = _made(url, received, model, verify)
        files = [*([before] if before else []), _sha256(made)]
        with locked(target) if before else nullcontext():
            if _sha256(target) != before:
                raise EdgeAdaptError(f"{os.fspath(path)} was edited just now, and is left as it is; pull again.")
            text = json.dumps(asdict(_Pulled(asked, etag, files))).encode()
            write_atomically(note, lambda stream: stream.write(text))  # first: cut off here, both files are known
            with made.open("rb") as source:
                write_atomically(target, lambda stream: shutil.copyfileobj(source, stream))
    return True


def _made(
    url: str, received: Path, model: str | os.PathLike[str] | None, verify: str | os.PathLike[str] | None
) -> Path:
    """The checked bundle that was received, or that a task makes."""
    try:
        if is_task(received):
            made = received.with_name("made.edge")
            unpack(received, made, model=model, verify=verify)
            return made
        if verify is not None:
            raise BundleError(
                f"{url} is no task, and nothing else is signed; ask for what `edge-adapt pack --sign` wrote."
            )
        Bundle.open(received).verify()
    except BundleError as error:
        raise BundleError(str(error).replace(os.fspath(received), url)) from error
    return received


class _Redirections(HTTPRedirectHandler):
    """Followed a few times, never to less safety, and with the token to nobody else."""

    max_redirections = _REDIRECTIONS

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme not in ("https", req.type):
            raise EdgeAdaptError(f"{req.full_url} sends on to {newurl}, which is less safe; ask for the right address.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            request.remove_header("Authorization")
        return request


def _fetched(url: str, headers: dict[str, str], path: Path) -> str | None:
    """Write what a server sends to a file; its ETag, empty where there is none, and None where it says that nothing changed."""
    outcome: list[Any] = []

    def fetch() -> None:
        try:
            outcome.append(_downloaded(url, headers, path))
        except Exception as error:
            outcome.append(error)

    worker = threading.Thread(
        target=fetch, daemon=True
    )  # a server that sends a byte now and then never times out by itself
    worker.start()
    worker.join(_SECONDS)
    found = outcome[0] if outcome else EdgeAdaptError(f"{url} did not come within {_SECONDS} seconds; try again later.")
    if isinstance(found, EdgeAdaptError):
        raise found
    if isinstance(found, HTTPError):
        raise EdgeAdaptError(
            f"{url} is answered with status {found.code} ({found.reason}); check the address and token."
        )
    if isinstance(found, (OSError, HTTPException, ValueError)):
        why = found.reason if isinstance(found, URLError) and isinstance(found.reason, OSError) else found
        raise EdgeAdaptError(f"{url} cannot be fetched ({reason(why)}); check the address and the network.") from found
    if isinstance(found, Exception):
        raise found
    etag: str | None = found
    return etag


def _downloaded(url: str, headers: dict[str, str], path: Path) -> str | None:
    try:
        response = build_opener(_Redirections).open(Request(url, headers=headers), timeout=_SILENT_SECONDS)
    except HTTPError as error:
        if error.code == _UNCHANGED and "If-None-Match" in headers:
            return None
        raise
    with response, path.open("wb") as stream:
        received = 0
        while block := response.read1(_BLOCK):
            received += len(block)
            if received > _MOST_BYTES:
                raise EdgeAdaptError(f"{url} is larger than a bundle may be here ({size(_MOST_BYTES)}); take another.")
            stream.write(block)
        promised = response.headers.get("Content-Length", str(received))
        if promised != str(received):
            raise EdgeAdaptError(f"{url} ended after {received} of {promised} bytes; pull again.")
    etag: str = response.headers.get("ETag", "")
    return etag


def _noted(note: Path) -> _Pulled | None:
    """What is noted; None where nothing is, or nothing that could be read, as after an edit by hand."""
    try:
        fields = json.loads(note.read_text(encoding="utf-8"))
        pulled = _Pulled(list(map(str, fields["asked"])), str(fields["etag"]), list(map(str, fields["files"])))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return pulled if pulled.files else None


def _sha256(path: Path) -> str:
    """Of a file; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
