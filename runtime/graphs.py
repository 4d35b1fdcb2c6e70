"""The three graphs of a bundle, called with arrays and with images.

This file knows no method by name. It decodes images, calls `embed`, `adapt` and `predict`, and checks what they give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edge_adapt.runtime.bundle.bundle import Bundle, Manifest
from edge_adapt.runtime.contract import BATCH, HeadState
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.images import ImageSource, load_image
from edge_adapt.runtime.images.preprocessing import preprocess
from edge_adapt.runtime.images.views import View, shot_features
from edge_adapt.runtime.parallel import cores, in_order
from edge_adapt.runtime.sessions import Provider, Session, scalar

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """The features of an image, and which image it is.

    Attributes:
        name, sha256: see `edge_adapt.runtime.images.images.LoadedImage`.
        features: float32 [D].
    """

    name: str
    sha256: str
    features: NDArray[np.float32]


class Graphs:
    """The three graphs of a bundle, each loaded when it is first called.

    Args:
        bundle: the file.
        provider: what runs `embed`; the other two are microseconds of work and stay on the CPU.
        threads: of `embed` on the CPU; None takes all cores.
    """

    def __init__(self, bundle: Bundle, provider: Provider = "auto", threads: int | None = None) -> None:
        self.bundle = bundle
        self._provider: Provider = provider
        self._threads = threads

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Preprocessed images, uint8 [B, H, W, C], to features, float32 [B, D]; B may be 0."""
        size = self.manifest.feature_size
        batches = [np.empty((0, size), np.float32)]
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            features = self._embed.run({"images": batch})[0]
            batches.append(self._checked("embed.onnx", "features", features, (len(batch), size)))
        return np.concatenate(batches)

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """Support features [M, D] and labels [M] in 0..n_way-1 to the head state and the support loss before each step."""
        feeds: HeadState = {"features": features, "targets": labels, "n_way": scalar(n_way), "steps": scalar(steps)}
        outputs = dict(zip(self._adapt.outputs, self._adapt.run(feeds), strict=True))
        missing = {*self.manifest.head_state, "losses"} - set(outputs)
        if missing:
            raise BundleError(
                f"{self.bundle.path}: adapt.onnx gives no {sorted(missing)[0]!r}; export the bundle again."
            )
        state = {name: outputs[name] for name in self.manifest.head_state}
        return state, self._checked("adapt.onnx", "losses", outputs["losses"], (None,))

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """Query features [B, D] and the head state to logits [B, N]."""
        logits = self._predict.run({"features": features, **state})[0]
        return self._checked("predict.onnx", "logits", logits, (len(features), None))

    def _checked(
        self, graph: str, name: str, output: NDArray[Any], expected: tuple[int | None, ...]
    ) -> NDArray[np.float32]:
        """An output, if it has the dtype and shape (None: any length) that the format gives it; a bundle is data from outside."""
        fits = len(output.shape) == len(expected) and all(
            length in (None, found) for length, found in zip(expected, output.shape, strict=True)
        )
        if output.dtype != np.float32 or not fits:
            due = ", ".join("any" if length is None else str(length) for length in expected)
            raise BundleError(
                f"{self.bundle.path}: {graph} gives {name} as {output.dtype} {list(output.shape)} where float32 [{due}] is due; "
                "export the bundle again."
            )
        return output

    def embed_image(self, source: ImageSource, name: str = "") -> EmbeddedImage:
        """Read an image, bring it to the model's pixels and embed it.

        Raises:
            ImageError: the image cannot be read.
        """
        return self._embed_image(source, name, ())

    def embed_shot(self, source: ImageSource, name: str = "") -> EmbeddedImage:
        """`embed_image` of an image to adapt to, which is looked at in all ways that the manifest lists.

        Raises:
            ImageError: the image cannot be read.
        """
        return self._embed_image(source, name, self.manifest.support_views)

    def _embed_image(self, source: ImageSource, name: str, views: Sequence[View]) -> EmbeddedImage:
        preprocessing = self.manifest.preprocessing
        image = load_image(source, name, preprocessing.decoded_size)
        pixels = preprocess(image.image, preprocessing)
        return EmbeddedImage(image.name, image.sha256, shot_features(self.embed, pixels[None], views)[0])

    def embed_each(self, embed: Callable[[Graphs, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The result of `embed` for each item, in order, on all threads: one decodes its image while another embeds.

        An image is embedded alone by the thread that decoded it, so that its features do not depend on the images beside it,
        to the last bit. On a CPU a batch would be no faster. A single item starts no thread.

        Args:
            embed: calls `embed_image` or `embed_shot` of the graphs that it is given, which run on the thread that calls them.
            items: what to embed, taken as it is needed.

        Raises:
            EdgeAdaptError: what `embed` raises of the first item that fails.
        """
        threads, items = self._threads or cores(), iter(items)
        first = list(islice(items, 2))
        if len(first) < 2 or threads == 1:
            return map(partial(embed, self), chain(first, items))
        self._on_one_thread.provider  # noqa: B018  (the session, made here so that no two threads make it)
        return in_order(partial(embed, self._on_one_thread), chain(first, items), threads)

    def check_task(self) -> None:
        """Raise BundleError unless the model classifies: the format has room for regression, which is not run here."""
        if self.manifest.task != "classification":
            raise BundleError(
                f"{self.bundle.path} is a {self.manifest.task} model; this edge-adapt adapts classification only."
            )

    @property
    def provider(self) -> str:
        """The execution provider that really runs `embed`, in ONNX Runtime's words."""
        return self._embed.provider

    @cached_property
    def _on_one_thread(self) -> Graphs:
        return Graphs(self.bundle, self._provider, threads=1)

    @cached_property
    def _embed(self) -> Session:
        return self._session("embed.onnx", ("images",), self._provider, self._threads)

    @cached_property
    def _adapt(self) -> Session:
        self.check_task()
        return self._session("adapt.onnx", ("features", "targets", "n_way", "steps"))

    @cached_property
    def _predict(self) -> Session:
        self.check_task()
        return self._session("predict.onnx", ("features", *self.manifest.head_state))

    def _session(
        self, graph: str, inputs: tuple[str, ...], provider: Provider = "cpu", threads: int | None = 1
    ) -> Session:
        return Session(self.bundle.graph(graph), f"{self.bundle.path}: {graph}", inputs, provider, threads)
