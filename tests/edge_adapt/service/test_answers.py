"""What a service says of images is what the runtime says, alone, together and one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_adapt.cli import main
from edge_adapt.runtime.answers import answer_json
from edge_adapt.runtime.model import load_classifier, load_model
from edge_adapt.runtime.packing import pack
from edge_adapt.runtime.regressor.regressor import Regressor
from tests.conftest import TINY
from tests.served import Client, png, serving
from tests.tiny_model import photos
from tests.value_photos import bars

pytest.importorskip("starlette")
websockets = pytest.importorskip("websockets.asyncio.client")

SEEN = [png(image) for images in photos({"a": 2, "b": 2, "c": 2}, seed=9).values() for image in images]
VALUES = np.linspace(0, 1, 9)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "mine.edge"
    load_model(TINY, "cpu").adapt(photos({"a": 1, "b": 4, "c": 2})).save(path)
    return path


@pytest.fixture(scope="module")
def client(path: Path) -> Iterator[Client]:
    with serving(path) as client:
        yield client


@pytest.fixture(scope="module")
def expected(path: Path) -> list[dict[str, Any]]:
    mine = load_classifier(path, "cpu", threads=1)
    return [answer_json("image", mine.classify(image)) for image in SEEN]


def test_each_image_is_answered_as_the_runtime_does(client: Client, expected: list[dict[str, Any]]) -> None:
    assert [client.post("/classify", image).json for image in SEEN] == expected
    known = client.post("/classify?unknown_at=0", SEEN[0]).json
    assert known["known"] is True and known["familiarity"] is None


def test_several_have_one_answer_each_and_one_that_cannot_be_read_an_error(
    client: Client, expected: list[dict[str, Any]]
) -> None:
    files = {f"{number}.png": image for number, image in enumerate(SEEN)}
    answers = client.form("/classify", {"image": {**files, "no.png": b"nothing"}}).json["answers"]
    assert answers[:-1] == [{**said, "image": name} for name, said in zip(files, expected, strict=True)]
    assert answers[-1]["image"] == "no.png" and "is not an image" in answers[-1]["error"]


def test_a_stream_of_frames_is_answered_in_order(client: Client, expected: list[dict[str, Any]]) -> None:
    async def ask() -> list[Any]:
        async with websockets.connect(f"ws://127.0.0.1:{client.port}/stream?unknown_at=0.05") as socket:
            for frame in [*SEEN, b"nothing"]:
                await socket.send(frame)
            await socket.send("text")
            return [json.loads(await socket.recv()) for _ in range(len(SEEN) + 2)]

    *answers, unreadable, text = asyncio.run(ask())
    assert answers == expected
    assert "is not an image" in unreadable["error"] and "binary message" in text["error"]


def test_a_stream_that_makes_no_sense_is_told_so_and_ended(client: Client) -> None:
    async def ask() -> tuple[Any, int]:
        async with websockets.connect(f"ws://127.0.0.1:{client.port}/stream?unknown_at=2") as socket:
            said = json.loads(await socket.recv())
            await socket.wait_closed()
            return said, socket.close_code

    said, code = asyncio.run(ask())
    assert "unknown_at" in said["error"] and code == 1008


def test_wrong_requests_are_told_what_is_wrong(client: Client) -> None:
    image = SEEN[0]
    assert client.post("/classify", b"nothing").status == 422
    assert client.post("/classify", image, Content_Type="text/plain").status == 415
    assert client.post("/classify?unknown_at=2", image).status == 400
    assert client.post("/classify?top=3", image).status == 400
    assert client.get("/classify").status == 405
    assert client.get("/../../etc/passwd").status == client.get("/nothing").status == 404
    broken = b'--x\r\nContent-Disposition: form-data; na\rme="a"\r\n\r\n'
    assert client.post("/classify", broken, Content_Type="multipart/form-data; boundary=x").status == 400
    assert client.post("/classify", b"", Content_Type="multipart/form-data").status == 400
    for path in ("/classify", "/classify?unknown_at=x", "/classify?unknown_at=nan"):
        assert client.post(path, b"").error
    assert client.get("/nothing").error


def test_health_and_counts(client: Client) -> None:
    assert client.get("/health").json == {"status": "ok"}
    client.post("/classify", SEEN[0])
    client.post("/classify", b"nothing")
    text = client.get("/metrics").body.decode()
    assert 'edge_adapt_requests_total{path="/classify",status="422"}' in text
    assert "edge_adapt_image_seconds_bucket" in text and "process_resident_memory_bytes" in text
    assert 'edge_adapt_images_total{as="known"}' in text and 'edge_adapt_info{version="' in text


def test_values_are_read(tmp_path: Path) -> None:
    mine = load_model(TINY, "cpu").regress(bars(VALUES), VALUES, ["level"])
    mine.save(tmp_path / "gauge.edge")
    image = png(bars(np.array([0.4]), seed=5)[0])
    with serving(tmp_path / "gauge.edge") as client:
        said = client.post("/classify", image).json
        assert said == json.loads(json.dumps(answer_json("image", mine.predict(image))))
        state = client.get("/classifier").json
        assert state["kind"] == "regressor" and len(state["images"]) == len(VALUES)
        assert client.post("/add?label=0.4", image).status == 200
        assert client.post("/add?label=much", image).status == 422
        assert client.post("/rename", {"label": "a", "name": "b"}).status == 422
        pack(tmp_path / "gauge.edge", tmp_path / "gauge.task")
        assert client.get("/classifier.task").body == (tmp_path / "gauge.task").read_bytes()
        assert len(client.get("/classifier").json["images"]) == len(VALUES) + 1
        added = mine.add([image], [0.4])
        assert isinstance(added, Regressor)
        expected = json.dumps(answer_json("image", added.predict(image)))
        assert client.post("/classify", image).json == json.loads(expected)


def test_a_file_that_cannot_be_served_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["serve", str(tmp_path / "no.edge")], ["serve", str(TINY)]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 1 and capsys.readouterr().err.startswith("Error: ")
