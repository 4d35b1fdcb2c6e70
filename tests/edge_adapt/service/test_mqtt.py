"""Answers reach a real broker, as Home Assistant finds them; needs Mosquitto (Debian: apt-get install mosquitto)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_adapt.runtime.model import load_model
from edge_adapt.service.served import Served
from tests.command_line import complaint
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.served import png, serving
from tests.tiny_model import photos
from tests.value_photos import bars

paho = pytest.importorskip("paho.mqtt.client")

from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402

from edge_adapt.service.mqtt import Publisher, discovery  # noqa: E402

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="needs Mosquitto")
IMAGE = png(photos({"a": 1}, seed=3)["a"][0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.edge"
    load_model(TINY, "cpu").adapt(photos({"a": 2, "b": 2})).save(path)
    return path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """The port of a broker."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    process = start(tmp_path, port)
    yield port
    process.kill()
    process.wait()


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    assert MOSQUITTO is not None
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(settings)], stderr=subprocess.DEVNULL)
    wait_for(lambda: reachable(port))
    return process


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


class Listener:
    """What a broker has sent, the last of each topic, and which of it was retained."""

    def __init__(self, port: int) -> None:
        self.found: dict[str, Any] = {}
        self.retained: set[str] = set()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()

    def _heard(self, client: object, data: object, message: Any) -> None:
        text = message.payload.decode()
        self.found[message.topic] = json.loads(text) if text.startswith("{") else text
        if message.retain:
            self.retained.add(message.topic)

    def ending(self, end: str) -> Any:
        """What was said last on the topic that ends so."""
        return next((value for topic, value in self.found.items() if topic.endswith(end)), None)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@needs_mosquitto
def test_answers_are_published_for_home_assistant_and_are_there_for_who_comes_later(path: Path, broker: int) -> None:
    listener = Listener(broker)
    with serving(path, "--mqtt", f"127.0.0.1:{broker}") as client:
        wait_for(lambda: listener.ending("/state") == "online")
        said = client.post("/classify", IMAGE).json
        wait_for(lambda: listener.ending("/answer") == said)
        late = Listener(broker)
        wait_for(lambda: late.ending("/answer") == said and late.ending("/config") is not None)
        assert late.retained == set(late.found)
        sensor = late.ending("/label/config")
        assert late.found[sensor["state_topic"]] == said and late.found[sensor["availability_topic"]] == "online"
        late.stop()
    wait_for(lambda: listener.ending("/state") == "offline")
    listener.stop()


@needs_mosquitto
def test_of_one_that_is_killed_the_broker_says_that_it_is_offline(path: Path, broker: int) -> None:
    from tests.served import start as serve

    listener = Listener(broker)
    client = serve(path, "--mqtt", f"127.0.0.1:{broker}")
    wait_for(lambda: listener.ending("/state") == "online")
    client.process.kill()
    client.process.communicate()
    wait_for(lambda: listener.ending("/state") == "offline")
    listener.stop()


@needs_mosquitto
def test_images_that_come_into_a_folder_are_published_and_a_broker_that_comes_late_hears_of_them(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "inbox").mkdir()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    with serving(path, "--mqtt", f"127.0.0.1:{port}", "--watch", str(tmp_path / "inbox")) as client:
        (tmp_path / "inbox" / "new.png").write_bytes(IMAGE)
        wait_for(lambda: b'edge_adapt_images_total{as="known"} 1.0' in client.get("/metrics").body)
        process = start(tmp_path, port)
        listener = Listener(port)
        wait_for(lambda: str((listener.ending("/answer") or {}).get("image")).endswith("new.png"))
        listener.stop()
    process.kill()
    process.wait()


def test_each_value_of_a_regressor_is_a_sensor() -> None:
    values = np.linspace(0, 1, 9)
    mine = load_model(TINY, "cpu").regress(bars(values), np.stack([values, 2 * values], 1), ["level", 'a "b"'])
    found = discovery(mine, "id", "topic")
    assert [sensor["name"] for sensor in found.values()] == ["level", 'a "b"']
    assert len({sensor["unique_id"] for sensor in found.values()}) == 2


def test_what_is_no_broker_is_refused(path: Path) -> None:
    for broker in ("", ":1883", "host:", "host:x", "host:99999"):
        with pytest.raises(Exception, match="HOST"):
            Publisher(broker, Served(path, "cpu"))
    assert "HOST" in complaint(command("serve", path, "--mqtt", "host:x"))
