"""`edge-adapt serve` in a process of its own, and a client that knows nothing but HTTP."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TOKEN = "a-token-of-the-tests"


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers by their names in small letters, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence of a refusal."""
        (sentence,) = json.loads(self.body).values()
        assert isinstance(sentence, str) and sentence.endswith(".") and "\n" not in sentence
        return sentence


@dataclass(frozen=True)
class Client:
    """Asks a service that is running."""

    port: int
    process: subprocess.Popen[str]

    def ask(self, method: str, path: str, body: bytes | Mapping[str, Any] | None = None, **headers: str) -> Answer:
        """Send a request; a mapping goes as JSON. Headers are given with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, Mapping):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """`ask` with GET."""
        return self.ask("GET", path, None, **headers)

    def post(self, path: str, body: bytes | Mapping[str, Any] | None = None, **headers: str) -> Answer:
        """`ask` with POST; bytes go as an image where no type is given."""
        if isinstance(body, bytes):
            headers.setdefault("Content_Type", "image/png")
        return self.ask("POST", path, body, **headers)

    def form(self, path: str, files: Mapping[str, Mapping[str, bytes]], **headers: str) -> Answer:
        """POST files by field and name."""
        mark = uuid.uuid4().hex
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
            + data
            + b"\r\n"
            for field, of_field in files.items()
            for name, data in of_field.items()
        ]
        body = b"".join([*parts, f"--{mark}--\r\n".encode()])
        return self.post(path, body, Content_Type=f"multipart/form-data; boundary={mark}", **headers)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An array as a PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def start(path: Path, *options: str, token: str | None = None) -> Client:
    """Start a service and wait until it takes requests; who started it ends it."""
    environment = {**os.environ, "EDGE_ADAPT_TOKEN": token or ""}
    command = [sys.executable, "-m", "edge_adapt", "serve", str(path), "--port", "0", "--provider", "cpu", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+:(\d+);", line)
    if found is None:
        process.wait()
        raise AssertionError(line + process.stderr.read())
    return Client(int(found[1]), process)


@contextmanager
def serving(path: Path, *options: str, token: str | None = None) -> Iterator[Client]:
    """A service that is ended by SIGTERM, with status 0 and without a complaint on standard error."""
    client = start(path, *options, token=token)
    try:
        yield client
    finally:
        client.process.send_signal(signal.SIGTERM)
        _, said = client.process.communicate(timeout=30)
    complaints = [line for line in said.splitlines() if not line.startswith("Watching ")]
    assert (client.process.returncode, complaints) == (0, []), said
