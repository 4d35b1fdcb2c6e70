"""Who is let in, and how much: strangers, floods, half requests and tricks get a 4xx or nothing, and others their answers."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from edge_adapt.runtime.model import load_model
from tests.command_line import complaint
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.served import TOKEN, Client, png, serving
from tests.tiny_model import photos

pytest.importorskip("starlette")
websockets = pytest.importorskip("websockets.asyncio.client")
exceptions = pytest.importorskip("websockets.exceptions")

IMAGE = png(photos({"a": 1}, seed=3)["a"][0])
BEARER = f"Bearer {TOKEN}"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guarded") / "mine.edge"
    load_model(TINY, "cpu").adapt(photos({"a": 2, "b": 2})).save(path)
    return path


@pytest.fixture(scope="module")
def client(path: Path) -> Iterator[Client]:
    """A service that asks for a token, as one that others can reach does."""
    before = path.read_bytes()
    with serving(path, "--host", "0.0.0.0", "--name", "camera.example", token=TOKEN) as client:
        yield client
    assert path.read_bytes() == before


def test_without_the_token_nobody_learns_or_changes_anything(client: Client) -> None:
    paths = client.get("/openapi.json", Authorization=BEARER).json["paths"]
    for path, methods in paths.items():
        for method in methods:
            for headers in ({}, {"Authorization": "Bearer wrong-token-of-tests"}, {"Authorization": f"Basic {TOKEN}"}):
                answer = client.ask(method.upper(), path, b"" if method == "post" else None, **headers)
                assert answer.status in (401, 429) or path == "/health", (path, headers)
    time.sleep(1)
    assert client.get("/health").status == 200
    assert client.get("/classifier", Authorization=BEARER).status == 200
    assert client.post("/classify", IMAGE, Authorization=BEARER).json["label"] == "a"
    refused = client.get("/classifier")
    assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"


def test_who_is_refused_hears_why_though_a_body_comes_after(client: Client) -> None:
    with closing(connection(client)) as asking:
        asking.sendall(head(b"Content-Length: 100000\r\n").replace(TOKEN.encode(), b"wrong-token-of-tests"))
        time.sleep(0.2)
        asking.sendall(b"x" * 100_000)
        asking.shutdown(socket.SHUT_WR)
        assert b" 401 " in received(asking).partition(b"\r\n")[0]


def test_guessing_takes_long(client: Client) -> None:
    time.sleep(1.1 - time.monotonic() % 1)  # another second
    answers = [client.get("/classifier", Authorization=f"Bearer {number:016}").status for number in range(30)]
    assert 401 in answers and 429 in answers
    time.sleep(1)
    assert client.get("/classifier", Authorization=BEARER).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:80", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("192.168.1.7:8000", 200),
        ("localhost:8000", 200),
        ("CAMERA.example:8000", 200),
        (socket.gethostname(), 200),
    ],
)
def test_a_name_that_a_stranger_has_pointed_here_is_refused(client: Client, host: str, status: int) -> None:
    assert client.get("/classifier", Host=host, Authorization=BEARER).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        ("file://", 403),
        ("https://[", 403),
        ("http://camera.example:8000", 200),
        ("https://camera.example:8000", 200),
    ],
)
def test_pages_of_other_origins_cannot_write(client: Client, origin: str, status: int) -> None:
    headers = {"Origin": origin, "Host": "camera.example:8000", "Authorization": BEARER}
    assert client.post("/classify", IMAGE, **headers).status == status
    answer = client.get("/classifier", **headers)
    assert answer.status == 200 and "access-control-allow-origin" not in answer.headers

    async def connect() -> int:
        address = f"ws://127.0.0.1:{client.port}/stream"
        try:
            async with websockets.connect(
                address, origin=origin, additional_headers={"Authorization": BEARER}
            ) as stream:
                await stream.send(IMAGE)
                await stream.recv()
                return 200
        except exceptions.InvalidStatus as error:
            return int(error.response.status_code)

    if status == 403:
        assert asyncio.run(connect()) == 403


def test_a_stream_needs_the_token_which_a_browser_can_send_too(client: Client) -> None:
    async def connect(**options: object) -> int:
        try:
            async with websockets.connect(f"ws://127.0.0.1:{client.port}/stream", **options) as stream:
                await stream.send(IMAGE)
                await stream.recv()
                return 200
        except exceptions.InvalidStatus as error:
            return int(error.response.status_code)

    assert asyncio.run(connect()) == 403
    assert asyncio.run(connect(subprotocols=["bearer", "wrong"])) == 403
    assert asyncio.run(connect(subprotocols=["bearer", TOKEN])) == 200
    assert asyncio.run(connect(additional_headers={"Authorization": BEARER})) == 200


def test_no_more_streams_than_it_can_hold(client: Client) -> None:
    async def connect() -> list[int]:
        address, found = f"ws://127.0.0.1:{client.port}/stream", []
        streams = []
        for _ in range(20):
            try:
                streams.append(await websockets.connect(address, additional_headers={"Authorization": BEARER}))
                found.append(200)
            except exceptions.InvalidStatus as error:
                found.append(error.response.status_code)
        for stream in streams:
            await stream.close()
        return found

    assert asyncio.run(connect()) == [200] * 16 + [403] * 4


def test_a_large_body_is_refused_before_and_while_it_comes(client: Client) -> None:
    answer = raw(client, b"Content-Length: 100000000\r\n", b"")
    assert b" 413 " in answer.partition(b"\r\n")[0]
    block = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    started = resident(client)
    with closing(connection(client)) as asking:
        asking.sendall(head(b"Transfer-Encoding: chunked\r\n"))
        sent = 0
        try:
            while sent < 100_000_000:
                asking.sendall(block)
                sent += len(block)
        except OSError:
            pass
    assert sent < 60_000_000 and resident(client) - started < 80_000_000
    assert client.post("/classify", IMAGE, Authorization=BEARER).status == 200


def test_a_large_frame_ends_its_stream(client: Client) -> None:
    async def send() -> int:
        address = f"ws://127.0.0.1:{client.port}/stream"
        async with websockets.connect(address, additional_headers={"Authorization": BEARER}) as stream:
            try:
                await stream.send(b"x" * 9_000_000)
                await stream.recv()
            except exceptions.ConnectionClosed as error:
                return int(error.rcvd.code) if error.rcvd else 0
        return -1

    assert asyncio.run(send()) in (0, 1009)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET /classifier HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        b"\0\xff\n\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /classifier.edge/../../x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999999999999999999\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /classifier HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_or_a_trick_gets_a_4xx_or_nothing(client: Client, sent: bytes) -> None:
    with closing(connection(client)) as asking:
        try:
            asking.sendall(sent)
            asking.shutdown(socket.SHUT_WR)
            answer = received(asking)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.split()[1][:1] == b"4", answer
    assert client.get("/health").status == 200


def test_who_hangs_up_before_all_is_sent_is_no_fault_of_the_service(client: Client) -> None:
    """Nor in its log: the fixture sees to that."""
    for path in (b"/classify", b"/adapt", b"/rename"):
        with closing(connection(client)) as asking:
            asking.sendall(head(b"Content-Length: 1000\r\n").replace(b"/classify", path) + b"x")
            time.sleep(0.1)
    assert client.get("/health").status == 200


@pytest.mark.slow
def test_slow_clients_are_given_up_and_keep_nobody_waiting(client: Client) -> None:
    half = [b"", b"GET / HTTP/1.1\r\nHost: 127.0", head(b"Content-Length: 1000\r\n") + b"x"]
    asking = [connection(client) for _ in range(60)]
    for number, one in enumerate(asking):
        one.sendall(half[number % 3])
    began = time.monotonic()
    assert client.post("/classify", IMAGE, Authorization=BEARER).status == 200
    assert time.monotonic() - began < 5
    for one in asking:
        one.settimeout(90)
        received(one)
        one.close()
    assert time.monotonic() - began < 80


def test_a_flood_is_answered_or_refused_and_memory_stays(client: Client) -> None:
    before = resident(client)
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda _: client.post("/classify", IMAGE, Authorization=BEARER).status, range(600)))
    assert set(found) <= {200, 429} and found.count(200) > 300
    assert resident(client) - before < 50_000_000


def test_an_address_that_others_can_reach_asks_for_a_token(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_ADAPT_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.168.1.7"):
        assert "asks for a token" in complaint(command("serve", path, "--host", host))
    monkeypatch.setenv("EDGE_ADAPT_TOKEN", "short")
    assert "16 letters" in complaint(command("serve", path))
    assert "cannot be read" in complaint(command("serve", path, "--token-file", path.parent / "no"))
    monkeypatch.delenv("EDGE_ADAPT_TOKEN")
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        assert "cannot be listened at" in complaint(command("serve", path, "--port", port))


def head(headers: bytes) -> bytes:
    start = f"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nAuthorization: {BEARER}\r\n"
    return start.encode() + headers + b"\r\n"


def connection(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=30)


def received(asking: socket.socket) -> bytes:
    answer = b""
    try:
        while block := asking.recv(1 << 16):
            answer += block
    except ConnectionError:
        pass
    return answer


def raw(client: Client, headers: bytes, body: bytes) -> bytes:
    with closing(connection(client)) as asking:
        asking.sendall(head(headers) + body)
        return received(asking)


def resident(client: Client) -> int:
    """Bytes of memory that the service has, where the system says it."""
    statm = Path(f"/proc/{client.process.pid}/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
