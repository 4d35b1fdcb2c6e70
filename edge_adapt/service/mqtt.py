"""Answers, published over MQTT as Home Assistant finds and shows them.

Topics, all retained: edge-adapt/ID/answer, the last answer in JSON; edge-adapt/ID/state, `online` or `offline`, the will too; and
homeassistant/sensor/ID/NAME/config, a sensor for the class, or one a value. ID is the file's name and the machine's.
https://www.home-assistant.io/integrations/mqtt describes the messages.
"""

from __future__ import annotations

import json
import os
import re
import socket
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_adapt.runtime import __version__
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.service.served import Served

_PORT = 1883
_MOST_WAITING = 100  # answers, while the broker cannot be reached
_SECONDS = 2  # to say goodbye


class Publisher:
    """A connection to a broker, as long as it is entered; where it breaks it is made again.

    Args:
        broker: HOST or HOST:PORT.
        served: the file that the answers are of.

    Raises:
        EdgeAdaptError: `broker` is no such text.
    """

    def __init__(self, broker: str, served: Served) -> None:
        host, colon, port = broker.partition(":")
        if not host or (colon and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536)):
            raise EdgeAdaptError(f"{broker!r} is no HOST or HOST:PORT of a broker; give one.")
        self._host, self._port = host, int(port or _PORT)
        name = f"{served.path.stem}-{socket.gethostname()}"
        self._id = re.sub(r"[^A-Za-z0-9_-]", "-", name)
        self._topic = f"edge-adapt/{self._id}"
        self._served = served
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"edge-adapt-{self._id}")
        self._client.max_queued_messages_set(_MOST_WAITING)
        user = os.environ.get("EDGE_ADAPT_MQTT_USER")
        if user is not None:
            self._client.username_pw_set(user, os.environ.get("EDGE_ADAPT_MQTT_PASSWORD"))
        self._client.will_set(f"{self._topic}/state", "offline", qos=1, retain=True)
        self._client.on_connect = self._connected

    def __enter__(self) -> Publisher:
        self._client.connect_async(self._host, self._port)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        said = self._client.publish(f"{self._topic}/state", "offline", qos=1, retain=True)
        if self._client.is_connected():
            said.wait_for_publish(_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, answer: dict[str, Any]) -> None:
        """Send an answer, or keep it until the broker can be reached; of more than a hundred the rest is dropped."""
        self._client.publish(f"{self._topic}/answer", json.dumps(answer), qos=1, retain=True)

    def _connected(
        self, client: paho.Client, data: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        if reason.is_failure:
            return
        for name, message in discovery(self._served.now().mine, self._id, self._topic).items():
            client.publish(f"homeassistant/sensor/{self._id}/{name}/config", json.dumps(message), qos=1, retain=True)
        client.publish(f"{self._topic}/state", "online", qos=1, retain=True)


def discovery(mine: Classifier | Regressor, identity: str, topic: str) -> dict[str, dict[str, Any]]:
    """The discovery message of each sensor, by its name."""
    common = {
        "state_topic": f"{topic}/answer",
        "availability_topic": f"{topic}/state",
        "json_attributes_topic": f"{topic}/answer",
        "device": {
            "identifiers": [identity],
            "name": identity,
            "manufacturer": "edge-adapt",
            "sw_version": __version__,
        },
    }
    if isinstance(mine, Regressor):
        return {
            f"value{number}": common
            | {
                "name": name,
                "unique_id": f"{identity}-value{number}",
                "state_class": "measurement",
                "value_template": "{{ value_json['values']["
                + json.dumps(name)
                + "] if 'values' in value_json else None }}",
            }
            for number, name in enumerate(mine.names)
        }
    assert isinstance(mine, Classifier)
    template = "{{ 'unreadable' if 'error' in value_json else value_json.label if value_json.known else 'unknown' }}"
    return {"label": common | {"name": "Class", "unique_id": f"{identity}-label", "value_template": template}}
