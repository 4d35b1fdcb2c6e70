"""The command `serve`."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from edge_adapt.cli import live, options, words

if TYPE_CHECKING:
    from edge_adapt.runtime.sessions import Provider


@click.command(
    epilog=words.examples(
        "edge-adapt serve mine.edge",
        "edge-adapt serve mine.edge --host 0.0.0.0 --token-file token",
        "edge-adapt serve mine.edge --camera --mqtt homeassistant.local",
    )
)
@click.argument("classifier", type=click.Path(), metavar="MINE.edge")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, metavar="N", help="0 takes a free one."
)
@options.token_file
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name by which this machine is asked, beside its own and its addresses; may be repeated.",
)
@click.option(
    "--mqtt",
    metavar="HOST[:PORT]",
    help="Publish each answer there, with discovery messages for Home Assistant; user and password are in "
    "EDGE_ADAPT_MQTT_USER and EDGE_ADAPT_MQTT_PASSWORD.",
)
@live.takes_images_that_come
@options.provider
@options.threads
def serve(
    classifier: str,
    host: str,
    port: int,
    token_file: str | None,
    names: tuple[str, ...],
    mqtt: str | None,
    watch: str | None,
    camera: int | None,
    every: float | None,
    provider: Provider,
    threads: int | None,
) -> None:
    """Answer and edit over HTTP, until Ctrl-C or SIGTERM.

    POST an image to /classify and get JSON; /openapi.json describes that and the edits, which are on the disk once they are
    answered. What a command changes in the file shows up at once. On any address but loopback each request has to bring a
    token. Needs the extra `[serve]`; --mqtt needs `[mqtt]` too.
    """
    from edge_adapt.extras import require_serving

    require_serving(mqtt is not None)
    live.check_images_that_come(None, watch, camera, every)
    from edge_adapt.service.core import Service
    from edge_adapt.service.served import Served
    from edge_adapt.service.server import Place, check_place
    from edge_adapt.service.server import serve as run
    from edge_adapt.web.site import service_page_files

    place = Place(host, port, options.token(token_file), names, service_page_files())
    check_place(place)
    with ExitStack() as stack:
        stack.enter_context(live.ended_by_signals(True))
        served = Served(classifier, provider)
        publish = _not_published
        if mqtt is not None:
            from edge_adapt.service.mqtt import Publisher

            publish = stack.enter_context(Publisher(mqtt, served)).publish
        images = live.live_images(None, watch, camera, every) or ()
        run(Service(served, publish, threads), place, partial(_say_ready, classifier), images)


def _say_ready(classifier: str, url: str) -> None:
    words.say(f"Serving {classifier} at {url}; Ctrl-C ends it.")


def _not_published(answer: dict[str, Any]) -> None:
    pass
