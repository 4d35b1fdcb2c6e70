"""A site looked at from this machine: an HTTP server on the loopback address, from memory."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.words import reason

_TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".edge": "application/octet-stream",
}
_TYPES |= {".webmanifest": "application/manifest+json"}


def content_type(path: str) -> str:
    """The media type of a file of a site, whatever the system's own table says."""
    suffix = path[path.rfind(".") :]
    return _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def server_of(files: Mapping[str, bytes], port: int) -> ThreadingHTTPServer:
    """A server of these files on 127.0.0.1, which `serve_forever` starts; port 0 takes any that is free.

    Raises:
        EdgeAdaptError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
            # A name that a stranger's page has made to lead here (DNS rebinding) is not one of ours.
            known = self.headers.get("Host", "").partition(":")[0] in ("localhost", "127.0.0.1") and path in files
            body = files[path] if known else b"There is no such file.\n"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", content_type(path) if known else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-cache")
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A line a request would hide the address to open."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise EdgeAdaptError(f"port {port} cannot be opened ({reason(error)}); choose another with --port.") from error
