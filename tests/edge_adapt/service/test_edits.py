"""Edits over HTTP are those of the runtime, are on the disk when they are answered, and lose nothing that others did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.editing import edit
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.model import load_classifier, load_model
from edge_adapt.runtime.packing import pack
from tests.command_line import edge_adapt as command
from tests.command_line import succeeded
from tests.conftest import TINY
from tests.served import Answer, Client, png, serving, start
from tests.tiny_model import photos

pytest.importorskip("starlette")

NEW = {label: [png(image) for image in images] for label, images in photos({"d": 3, "a": 2}, seed=4).items()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Client]]:
    """One service for all tests, each of which finds the file as it was: what others write is served."""
    path = tmp_path_factory.mktemp("served") / "mine.edge"
    load_model(TINY, "cpu").adapt(photos({"a": 2, "b": 4, "c": 2})).save(path)
    with serving(path) as client:
        yield path, client


@pytest.fixture
def path(served: tuple[Path, Client]) -> Iterator[Path]:
    path = served[0]
    before = path.read_bytes()
    yield path
    write_atomically(path, lambda stream: stream.write(before))


@pytest.fixture
def client(served: tuple[Path, Client], path: Path) -> Client:
    return served[1]


def same_state(path: Path, other: Path) -> bool:
    """Whether two files hold the same, the times of edits aside."""
    one, two = load_classifier(path, "cpu"), load_classifier(other, "cpu")
    arrays = np.array_equal(one.adaptation.support_features, two.adaptation.support_features)
    return arrays and one.adaptation.shots == two.adaptation.shots and one.labels == two.labels


def test_every_edit_is_that_of_the_runtime(client: Client, path: Path, tmp_path: Path) -> None:
    other, new = tmp_path / "other.edge", tmp_path / "0.png"
    other.write_bytes(path.read_bytes())
    mine = load_classifier(other, "cpu")
    new.write_bytes(NEW["d"][0])
    first = mine.support.images[0].sha256
    steps: list[tuple[Callable[[], Answer], Callable[[Classifier], Classifier]]] = [
        (lambda: client.form("/add?label=d", {"image": {"0.png": NEW["d"][0]}}), lambda mine: mine.add("d", [new])),
        (lambda: client.post("/correct?label=b", NEW["d"][1]), lambda mine: mine.correct(NEW["d"][1], "b")),
        (lambda: client.post("/correct?not=a", NEW["a"][0]), lambda mine: mine.correct(NEW["a"][0], never="a")),
        (lambda: client.post("/rename", {"label": "d", "name": "x"}), lambda mine: mine.rename("d", "x")),
        (
            lambda: client.post("/merge", {"labels": ["a", "b"], "into": "ab"}),
            lambda mine: mine.merge(["a", "b"], "ab"),
        ),
        (lambda: client.post("/undo"), Classifier.undo),
        (lambda: client.post("/redo"), Classifier.redo),
        (lambda: client.post("/remove", {"label": "ab", "images": [first]}), lambda mine: mine.remove("ab", first)),
    ]

    for ask, do in steps:
        before = client.get("/classifier").headers["etag"]
        answer = ask()
        assert answer.status == 200, answer.body
        mine = do(mine)
        mine.save(other)
        mine = load_classifier(other, "cpu")
        assert same_state(path, other)
        assert answer.headers["etag"] == client.get("/classifier").headers["etag"] != before
        counts = {of["label"]: len(of["images"]) for of in answer.json["classes"]}
        assert counts == mine.support.counts
    log = client.get("/log").json["edits"]
    assert [entry["what"] for entry in log] == [entry.what for entry in mine.history.edits]


def test_adapting_anew_is_adapting_once_and_can_be_undone(client: Client, path: Path, tmp_path: Path) -> None:
    before = client.get("/classifier").json["classes"]
    files = {label: {f"{number}.png": image for number, image in enumerate(images)} for label, images in NEW.items()}
    answer = client.form("/adapt", files)
    assert [of["label"] for of in answer.json["classes"]] == ["a", "d"]
    once = load_model(TINY, "cpu").adapt({"a": NEW["a"], "d": NEW["d"]})
    assert np.array_equal(load_classifier(path, "cpu").support.features, once.support.features)
    assert client.post("/undo").json["classes"] == before
    assert client.form("/adapt", {"a": {"0.png": NEW["a"][0]}}).status == 422


def test_an_edit_of_a_state_that_has_passed_is_refused(client: Client, path: Path) -> None:
    etag = client.get("/classifier").headers["etag"]
    assert client.post("/rename", {"label": "a", "name": "x"}, If_Match=etag).status == 200
    refused = client.post("/rename", {"label": "x", "name": "y"}, If_Match=etag)
    assert refused.status == 412 and "changed since" in refused.error
    assert client.post("/rename", {"label": "x", "name": "y"}, If_Match="*").status == 200
    assert load_classifier(path, "cpu").labels == ("b", "c", "y")


def test_file_and_task_are_those_on_the_disk_and_are_sent_once(client: Client, path: Path, tmp_path: Path) -> None:
    pack(path, tmp_path / "mine.task")
    for address, file in (("/classifier.edge", path), ("/classifier.task", tmp_path / "mine.task")):
        answer = client.get(address)
        assert answer.body == file.read_bytes()
        again = client.get(address, If_None_Match=answer.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert client.get(address, If_None_Match='"another"').status == 200


def test_what_a_command_changes_shows_up_and_both_edit_one_file(client: Client, path: Path) -> None:
    succeeded(command("rename", path, "a", "x"))
    assert [of["label"] for of in client.get("/classifier").json["classes"]] == ["b", "c", "x"]
    assert set(client.post("/classify", NEW["a"][0]).json["scores"]) == {"b", "c", "x"}
    numbers = range(8)

    def elsewhere(number: int) -> None:
        image = photos({"e": 1}, seed=100 + number)["e"]
        edit(path, lambda mine: mine.add(f"here {number}", image), provider="cpu", threads=1)

    with ThreadPoolExecutor(4) as pool:
        others = pool.map(elsewhere, numbers)
        asked = pool.map(
            lambda n: client.post(f"/add?label=there%20{n}", png(photos({"f": 1}, n)["f"][0])).status, numbers
        )
        assert set(asked) == {200}
        list(others)
    found = set(load_classifier(path, "cpu").labels)
    assert found == {"b", "c", "x", *(f"here {n}" for n in numbers), *(f"there {n}" for n in numbers)}


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/rename", {"label": "zzz", "name": "y"}),
        ("/rename", {"label": "a", "name": "b"}),
        ("/rename", {"label": "a", "name": "two\nlines"}),
        ("/rename", {"label": "a", "name": "\ud800"}),
        ("/remove", {"label": "zzz"}),
        ("/remove", {"label": "a", "images": ["zzz"]}),
        ("/merge", {"labels": ["a", "b", "c"], "into": "a"}),
        ("/undo", {}),
        ("/redo", {}),
        ("/add?label=a", b"nothing"),
        ("/correct?not=zzz", NEW["a"][0]),
    ],
)
def test_an_edit_that_cannot_be_done_changes_nothing(client: Client, path: Path, address: str, body: object) -> None:
    before = path.read_bytes()
    answer = client.post(address, body)  # type: ignore[arg-type]
    assert answer.status == 422 and answer.error
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("address", "body", "status"),
    [
        ("/rename", {"label": "a"}, 400),
        ("/rename", {"label": "a", "name": 3}, 400),
        ("/rename", {"label": "a", "name": "x", "more": "y"}, 400),
        ("/remove", {"label": "a", "images": [[]]}, 400),
        ("/remove", {"label": "a", "images": []}, 400),
        ("/remove", {"label": "a", "images": None}, 400),
        ("/merge", {"labels": [], "into": "a"}, 400),
        ("/add", NEW["a"][0], 400),
        ("/add?label=", NEW["a"][0], 400),
        ("/correct", NEW["a"][0], 400),
        ("/correct?label=a&not=b", NEW["a"][0], 400),
        ("/adapt", NEW["a"][0], 415),
        ("/rename", NEW["a"][0], 415),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(client: Client, address: str, body: object, status: int) -> None:
    answer = client.post(address, body)  # type: ignore[arg-type]
    assert answer.status == status and answer.error


def test_a_file_that_vanishes_or_is_damaged_is_told_and_one_that_comes_back_is_served(
    client: Client, path: Path
) -> None:
    whole = path.read_bytes()
    path.unlink()
    assert client.get("/health").status == client.post("/classify", NEW["a"][0]).status == 503
    path.write_bytes(whole[: len(whole) // 2])
    assert client.get("/health").status == 503 and client.get("/health").error
    assert client.post("/undo").status == 503
    path.write_bytes(whole)
    assert client.post("/classify", NEW["a"][0]).status == 200


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_any_moment_nothing_is_lost_that_was_answered(path: Path, kills: int) -> None:
    random = np.random.default_rng(0)
    answered: set[str] = set()
    before = {image.name for image in load_classifier(path, "cpu").support.images}

    def teach(client: Client, name: str, seed: int) -> None:
        image = png(photos({"e": 1}, seed)["e"][0])
        try:
            answer = client.form(f"/add?label=class{seed % 20}", {"image": {name: image}})
        except (OSError, HTTPException):  # it is killed
            return
        assert answer.status == 200
        answered.add(name)

    for kill in range(kills):
        client = start(path)
        names = {f"{kill}-{number}.png": 100 * kill + number for number in range(60)}
        with ThreadPoolExecutor(3) as pool:
            work = [pool.submit(teach, client, name, seed) for name, seed in names.items()]
            while not any(name in answered for name in names) and client.process.poll() is None:
                time.sleep(0.01)
            time.sleep(random.uniform(0, 0.3))
            client.process.kill()
        for future in work:
            future.result()
        client.process.communicate()
        mine = load_classifier(path, "cpu")
        mine.graphs.bundle.verify()
        kept = {image.name for image in mine.support.images} - before
        assert answered <= kept
        assert len(kept - answered) <= kill + 1  # an edit that was under way may have been written
        assert [file.name for file in path.parent.glob("*") if file.suffix != ".tmp"] == [path.name]
    assert len(answered) >= kills
