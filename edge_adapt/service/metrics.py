"""What the service counts, in the text that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from edge_adapt.runtime import __version__

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "edge_adapt_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )
        self._images = Counter(
            "edge_adapt_images",
            "Images answered, as known, unknown, read or unreadable.",
            ["as"],
            registry=self._registry,
        )
        self._edits = Counter("edge_adapt_edits", "Edits that are on the disk.", registry=self._registry)
        self._seconds = Histogram(
            "edge_adapt_image_seconds", "From an image to its answer.", buckets=_SECONDS, registry=self._registry
        )
        Info("edge_adapt", "What runs.", registry=self._registry).info({"version": __version__})

    def requested(self, path: str, status: int) -> None:
        """Count a request of a path of the interface."""
        self._requests.labels(path, str(status)).inc()

    def answered(self, answer: dict[str, Any]) -> None:
        """Count an image by what was said of it."""
        known = answer.get("known")
        kind = "unreadable" if "error" in answer else "read" if known is None else "known" if known else "unknown"
        self._images.labels(kind).inc()

    def edited(self) -> None:
        """Count an edit."""
        self._edits.inc()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count how long an image takes."""
        start = time.monotonic()
        yield
        self._seconds.observe(time.monotonic() - start)

    def text(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self._registry)
