"""The command `web`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_adapt.cli import live, options, words

if TYPE_CHECKING:
    from edge_adapt.runtime.graphs import Trust


@click.command(
    epilog=words.examples(
        "edge-adapt web photos --serve",
        "edge-adapt web photos -o site",
        "edge-adapt web mine.edge -o site --onnxruntime-web node_modules/onnxruntime-web",
    )
)
@click.argument("model", type=click.Path(), metavar="MODEL.edge|NAME")
@click.option("-o", "--output", type=click.Path(), metavar="SITE", help="The folder to write.")
@click.option("--serve", is_flag=True, help="Show the page at once, to this machine alone, until Ctrl-C.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    metavar="PORT",
    help="Of --serve; 0 takes any that is free.",
)
@click.option(
    "--onnxruntime-web",
    "runtime",
    type=click.Path(),
    metavar="FILE.tgz|FOLDER",
    show_default="a copy in ~/.cache/edge-adapt, downloaded where there is none",
    help="The npm package that runs models in a browser.",
)
@options.untrusted
def web(model: str, output: str | None, serve: bool, port: int, runtime: str | None, trust: Trust) -> None:
    """Write a web page that teaches and classifies in the browser, on the visitor's own device.

    The page begins with MODEL: a bundle, the name of a bundled model, or a classifier or regressor that `edge-adapt adapt` wrote.
    SITE is a folder of static files for any web server, in any of its folders. No photo leaves the browser, nothing is loaded
    from elsewhere, and after one visit the page works without a network. Cameras and offline use need https, or localhost.
    """
    from edge_adapt.web.site import site_files, write_site

    if output is None and not serve:
        raise click.UsageError("give a folder with -o SITE, or --serve to look at the page at once.")
    files = site_files(model, runtime, trust)
    if output is not None:
        write_site(files, output)
        count, total = len(files), sum(map(len, files.values()))
        words.say(f"Saved {output}: {words.plural(count, 'file')}, {words.size(total)}. Any web server can hold it.")
    if serve:
        from edge_adapt.web.serving import server_of

        with live.ended_by_signals(True), server_of(files, port) as server:
            words.say(f"Open http://localhost:{server.server_port}/ in a browser; Ctrl-C stops.")
            server.serve_forever()
