"""Pulling: what is checked takes the place of what was there, whole; nothing else does, whatever a server sends."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import pytest

import edge_adapt
from edge_adapt.runtime import pulling
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from tests.command_line import complaint, succeeded
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.tiny_model import photos, refusal


@dataclass
class Server:
    """A server of files, which keeps what it was asked: the path, the headers and the status of its answer."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    instead: Callable[[BaseHTTPRequestHandler], None] | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if server.instead is not None:
                server.asked.append((self.path, dict(self.headers), 0))
                server.instead(self)
                return
            data = server.files.get(self.path)
            etag = f'"{hash(data)}"'
            status = 404 if data is None else 304 if self.headers.get("If-None-Match") == etag else 200
            server.asked.append((self.path, dict(self.headers), status))
            self.send_response(status)
            self.send_header("ETag", etag)
            body = data if status == 200 and data is not None else b""
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    server.address = f"http://127.0.0.1:{listening.server_address[1]}"
    yield server
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "device").mkdir()
    return tmp_path / "device" / "mine.edge"


@pytest.fixture
def versions(classifier: Classifier, tmp_path: Path) -> list[Path]:
    """The classifier, and with a class more; the tasks of both lie beside them."""
    later = classifier.add("d", photos({"d": 2})["d"])
    found = [tmp_path / "one.edge", tmp_path / "two.edge"]
    for mine, file in zip((classifier, later), found, strict=True):
        mine.save(file)
        edge_adapt.pack(file, file.with_suffix(".task"))
    return found


def test_a_task_becomes_its_classifier_and_is_sent_once(server: Server, path: Path, versions: list[Path]) -> None:
    url = f"{server.address}/mine.task"
    for version in versions:
        server.files["/mine.task"] = version.with_suffix(".task").read_bytes()
        assert edge_adapt.pull(url, path, model=TINY)
        assert path.read_bytes() == version.read_bytes()
        assert not edge_adapt.pull(url, path, model=TINY)
    assert [status for _, _, status in server.asked] == [200, 304, 200, 304]
    assert sorted(file.name for file in path.parent.iterdir()) == [".mine.edge.pulled", "mine.edge"]


def test_the_command_says_what_was_done(server: Server, path: Path, versions: list[Path]) -> None:
    server.files["/mine.edge"] = versions[0].read_bytes()
    url = f"{server.address}/mine.edge"
    assert "Saved" in succeeded(command("pull", url, "-o", path))
    assert f"{path} is what {url} has." in succeeded(command("pull", url, "-o", path))
    assert path.read_bytes() == versions[0].read_bytes()


def test_what_was_asked_for_otherwise_is_asked_for_whole(server: Server, path: Path, versions: list[Path]) -> None:
    """An ETag says nothing of a signature that was not looked at."""
    pytest.importorskip("cryptography")
    server.files = {"/a": versions[0].with_suffix(".task").read_bytes(), "/b": versions[0].read_bytes()}
    assert edge_adapt.pull(f"{server.address}/a", path, model=TINY)
    public = keys(path.parent)
    message = refusal(lambda: edge_adapt.pull(f"{server.address}/a", path, model=TINY, verify=public), BundleError)
    assert "is not signed" in message and f"{server.address}/a" in message
    assert edge_adapt.pull(f"{server.address}/b", path)
    assert [status for _, _, status in server.asked] == [200, 200, 200]


def test_only_what_the_key_signed_is_taken(server: Server, path: Path, versions: list[Path]) -> None:
    pytest.importorskip("cryptography")
    public = keys(path.parent.parent)
    signed = path.parent.parent / "signed.task"
    edge_adapt.pack(versions[0], signed, sign=public.with_name("key.pem"))
    url = f"{server.address}/mine.task"
    server.files["/mine.task"] = signed.read_bytes()
    assert edge_adapt.pull(url, path, model=TINY, verify=public)
    before = path.read_bytes()
    edge_adapt.pack(versions[1], signed, sign=public.with_name("key.pem"))
    forged = bytearray(signed.read_bytes())
    forged[len(forged) // 2] ^= 1
    for data in (bytes(forged), versions[1].with_suffix(".task").read_bytes(), versions[1].read_bytes()):
        server.files["/mine.task"] = data
        with pytest.raises(BundleError):
            edge_adapt.pull(url, path, model=TINY, verify=public)
        assert path.read_bytes() == before


def test_edits_of_the_device_are_not_lost(server: Server, path: Path, versions: list[Path]) -> None:
    url = f"{server.address}/mine.edge"
    server.files["/mine.edge"] = versions[0].read_bytes()
    path.write_bytes(versions[1].read_bytes())
    assert "was not pulled" in refusal(lambda: edge_adapt.pull(url, path), EdgeAdaptError)
    assert edge_adapt.pull(url, path, replace=True)
    edge_adapt.edit(path, lambda mine: mine.rename("a", "x"), provider="cpu")
    edited = path.read_bytes()
    assert "--replace" in complaint(command("pull", url, "-o", path))
    assert path.read_bytes() == edited
    assert edge_adapt.pull(url, path, replace=True)
    assert path.read_bytes() == versions[0].read_bytes()


def test_an_edit_that_comes_while_it_is_fetched_is_not_lost(server: Server, path: Path, versions: list[Path]) -> None:
    url = f"{server.address}/mine.edge"
    server.files["/mine.edge"] = versions[0].read_bytes()
    edge_adapt.pull(url, path)

    def edits_first(handler: BaseHTTPRequestHandler) -> None:
        edge_adapt.edit(path, lambda mine: mine.rename("a", "x"), provider="cpu")
        send(handler, versions[1].read_bytes())

    server.instead = edits_first
    assert "edited just now" in refusal(lambda: edge_adapt.pull(url, path), EdgeAdaptError)
    assert "x" in edge_adapt.load_classifier(path).labels


def test_cut_off_between_its_two_files_it_goes_on(
    server: Server, path: Path, versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.address}/mine.edge"
    server.files["/mine.edge"] = versions[0].read_bytes()
    edge_adapt.pull(url, path)
    server.files["/mine.edge"] = versions[1].read_bytes()

    def cut_off(file: Path, work: Callable[..., object]) -> None:
        if file.name == "mine.edge":
            raise KeyboardInterrupt
        write_atomically(file, work)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("edge_adapt.runtime.pulling.write_atomically", cut_off)
        edge_adapt.pull(url, path)
    assert path.read_bytes() == versions[0].read_bytes()
    assert edge_adapt.pull(url, path)
    assert path.read_bytes() == versions[1].read_bytes()


def test_whatever_a_server_sends_the_file_stays(
    server: Server, path: Path, versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.address}/mine.edge"
    whole = server.files["/mine.edge"] = versions[0].read_bytes()
    edge_adapt.pull(url, path)
    monkeypatch.setattr(pulling, "_MOST_BYTES", len(whole) + 1000)
    monkeypatch.setattr(pulling, "_SECONDS", 1)

    def drips(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(30):
            handler.wfile.write(b"x")
            time.sleep(0.1)

    def redirects(to: str) -> Callable[[BaseHTTPRequestHandler], None]:
        def redirect(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", to)
            handler.end_headers()

        return redirect

    for instead, said in (
        (lambda handler: send(handler, whole[:-1]), "damaged|cut|end"),
        (lambda handler: send(handler, whole[:100], length=len(whole)), "cannot be fetched|ended after"),
        (lambda handler: send(handler, b"<html>log in</html>"), r"mine\.edge\? (is|cannot)"),
        (lambda handler: send(handler, b""), r"mine\.edge\? (is|cannot)"),
        (lambda handler: send(handler, whole + bytes(2000)), "larger than"),
        (lambda handler: handler.send_error(500), "status 500"),
        (lambda handler: handler.send_error(304), "status 304|cannot be fetched"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n") and None, "cannot be fetched"),
        (drips, "within 1 seconds"),
        (redirects("/mine.edge"), "status 302"),
        (redirects("file:///etc/passwd"), "not allowed"),
        (redirects("ftp://127.0.0.1/x"), "less safe"),
    ):
        server.instead = instead
        with pytest.raises(EdgeAdaptError, match=said) as caught:
            edge_adapt.pull(f"{url}?", path)  # another address: whole
        assert "\n" not in str(caught.value) and "/received" not in str(caught.value)
        assert path.read_bytes() == whole
    for url in (
        "http://127.0.0.1:1/x",
        "http://no.invalid/x",
        "file:///etc/passwd",
        "mine.edge",
        "http://[",
        "http://a b/",
    ):
        with pytest.raises(EdgeAdaptError):
            edge_adapt.pull(url, path)
    assert path.read_bytes() == whole


def test_https_is_not_left_and_the_token_goes_to_nobody_else(server: Server, path: Path, versions: list[Path]) -> None:
    asked = Request("https://a.example/x", headers={"Authorization": "Bearer t"})

    def followed(to: str) -> Request | None:
        return pulling._Redirections().redirect_request(asked, io.BytesIO(), 302, "", HTTPMessage(), to)

    with pytest.raises(EdgeAdaptError, match="less safe"):
        followed("http://a.example/x")
    same, other = followed("https://a.example/y"), followed("https://b.example/x")
    assert same is not None and same.get_header("Authorization") == "Bearer t"
    assert other is not None and other.get_header("Authorization") is None
    server.files["/mine.edge"] = versions[0].read_bytes()
    edge_adapt.pull(f"{server.address}/mine.edge", path, token="secret")
    assert server.asked[0][1]["Authorization"] == "Bearer secret"


def send(handler: BaseHTTPRequestHandler, data: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    handler.end_headers()
    handler.wfile.write(data)


def keys(folder: Path) -> Path:
    """A public key; the private one is key.pem beside it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    kind, locked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, kind, locked))
    public = folder / "public.pem"
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public
