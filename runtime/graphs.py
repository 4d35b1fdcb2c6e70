"""The three graphs of a bundle, called with arrays and with images.

This file knows no method by name. It decodes images, calls `embed`, `adapt` and `predict`, and checks what they give.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge_adapt.runtime.bundle.bundle import GRAPHS, Bundle, Manifest
from edge_adapt.runtime.contract import BATCH, HeadState
from edge_adapt.runtime.errors import BundleError, ConfinementWarning, ImageError, ProviderError
from edge_adapt.runtime.images.images import UnreadImage
from edge_adapt.runtime.images.looks import value_features, whole
from edge_adapt.runtime.images.preprocessing import preprocess
from edge_adapt.runtime.images.views import shot_features
from edge_adapt.runtime.parallel import cores, in_order
from edge_adapt.runtime.sessions import Provider, Session, scalar

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from edge_adapt.runtime.sandbox.process import Child, ChildSession


Trust = Literal["known", "unknown"]
"""Where a bundle comes from: from here or from somebody who is trusted, or from a stranger."""


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """The features of an image, and which image it is.

    Attributes:
        name: what it is called where it is kept.
        sha256: see `edge_adapt.runtime.images.images.LoadedImage`.
        features: float32 [D]; in regression as of `edge_adapt.runtime.images.looks.value_features`.
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
        trust: `unknown` runs all three in a child process that can compute and do nothing else, on one thread of the CPU.

    Raises:
        ProviderError: a bundle of unknown origin on anything but the CPU.
    """

    def __init__(
        self, bundle: Bundle, provider: Provider = "auto", threads: int | None = None, trust: Trust = "known"
    ) -> None:
        if trust == "unknown" and provider not in ("auto", "cpu"):
            raise ProviderError(f"a bundle of unknown origin runs on the CPU alone, and not with {provider}.")
        self.bundle = bundle
        self._provider: Provider = provider
        self._threads = threads
        self.trust: Trust = trust

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
        self, features: NDArray[np.float32], targets: NDArray[Any], n_way: int | None, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """Support features [M, D] and targets [M] or [M, T] to the head state and the support loss before each step.

        Targets are labels, int64 [M] in 0..n_way-1; in regression, where `n_way` is None, values, float32 [M, T].
        """
        feeds: HeadState = {"features": features, "targets": targets, "steps": scalar(steps)}
        if n_way is not None:
            feeds["n_way"] = scalar(n_way)
        outputs = dict(zip(self._adapt.outputs, self._adapt.run(feeds), strict=True))
        missing = {*self.manifest.head_state, "losses"} - set(outputs)
        if missing:
            raise BundleError(
                f"{self.bundle.path}: adapt.onnx gives no {sorted(missing)[0]!r}; export the bundle again."
            )
        state = {name: outputs[name] for name in self.manifest.head_state}
        return state, self._checked("adapt.onnx", "losses", outputs["losses"], (None,))

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """Query features [B, D] and the head state to logits [B, N]; in regression to values [B, T]."""
        scores = self._predict.run({"features": features, **state})[0]
        name = "logits" if self.manifest.task == "classification" else "values"
        return self._checked("predict.onnx", name, scores, (len(features), None))

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

    def embed_image(self, image: UnreadImage, *, as_shot: bool = False) -> EmbeddedImage:
        """Read an image, bring it to the model's pixels and embed it.

        Args:
            image: what to read; `named` makes one of any image.
            as_shot: look at it in all ways that the manifest lists for images to adapt to; in regression, in those of
                `value_features`.

        Raises:
            ImageError: the image cannot be read.
        """
        preprocessing = self.manifest.preprocessing
        if self.manifest.task == "regression":
            loaded = image.load(whole(preprocessing).decoded_size)
            seed = int(loaded.sha256[:8], 16) if as_shot else None
            features = value_features(self.embed, loaded.image, preprocessing, seed)
            return EmbeddedImage(image.name, loaded.sha256, features)
        loaded = image.load(preprocessing.decoded_size)
        pixels = preprocess(loaded.image, preprocessing)
        views = self.manifest.support_views if as_shot else ()
        return EmbeddedImage(image.name, loaded.sha256, shot_features(self.embed, pixels[None], views)[0])

    def embed_all(
        self, images: Iterable[UnreadImage], *, as_shots: bool = False
    ) -> Generator[EmbeddedImage | ImageError, None, None]:
        """`embed_image` of each, in order, on all threads: one decodes its image while another embeds.

        An image is embedded alone by the thread that decoded it, so that its features do not depend on the images beside it,
        to the last bit. On a CPU a batch would be no faster. A single image starts no thread.

        Args:
            images: what to embed, taken as it is needed.
            as_shots: as of `embed_image`.

        Yields:
            the embedded images; in place of one that cannot be read stands the error. Who takes no more of them closes it.
        """
        threads, images = self._threads or cores(), iter(images)
        first = list(islice(images, 2))
        graphs = self if len(first) < 2 or threads == 1 or self.trust == "unknown" else self._on_one_thread
        work = partial(_embedded_or_error, graphs, as_shots)
        if graphs is self:
            yield from map(work, chain(first, images))
        else:
            graphs.provider  # noqa: B018  (the session, made here so that no two threads make it)
            yield from in_order(work, chain(first, images), threads)

    @cached_property
    def takes_steps(self) -> bool:
        """Whether `adapt` has an inner loop: a graph without one declares that it gives no losses."""
        return self._adapt.outputs.get("losses") != (0,)

    def check_task(self) -> None:
        """Raise BundleError unless the model classifies."""
        if self.manifest.task != "classification":
            raise BundleError(
                f"{self.bundle.path} is a {self.manifest.task} model, which knows no classes; take another."
            )

    @property
    def confined(self) -> tuple[str, ...]:
        """What holds in the child process of a bundle of unknown origin, of `limits`, `landlock` and `seccomp`."""
        return self._child.confined if self.trust == "unknown" else ()

    @property
    def provider(self) -> str:
        """The execution provider that really runs `embed`, in ONNX Runtime's words."""
        return self._embed.provider

    @cached_property
    def _on_one_thread(self) -> Graphs:
        return Graphs(self.bundle, self._provider, threads=1)

    def of(self, bundle: Bundle) -> Graphs:
        """Those of another bundle, run as these are; a loaded backbone that is the same in both is not loaded again."""
        graphs = Graphs(bundle, self._provider, self._threads, self.trust)
        backbone = "embed.onnx"
        if self.trust == "known" and bundle.manifest.graphs[backbone] == self.manifest.graphs[backbone]:
            graphs.__dict__.update({name: value for name, value in self.__dict__.items() if name == "_embed"})
        return graphs

    @cached_property
    def _embed(self) -> Session | ChildSession:
        return self._session("embed.onnx", ("images",), self._provider, self._threads)

    @cached_property
    def _adapt(self) -> Session | ChildSession:
        ways = ("n_way",) if self.manifest.task == "classification" else ()
        return self._session("adapt.onnx", ("features", "targets", *ways, "steps"))

    @cached_property
    def _predict(self) -> Session | ChildSession:
        return self._session("predict.onnx", ("features", *self.manifest.head_state))

    @cached_property
    def _child(self) -> Child:
        from edge_adapt.runtime.sandbox.process import Child  # what starts processes takes a tenth of the time to start

        sizes = self.bundle.sizes
        child = Child(sum(sizes[graph] for graph in GRAPHS))
        if not {"landlock", "seccomp"} & set(child.confined):
            warnings.warn(
                "This system cannot keep a stranger's file from your own; crashes and endless loops are contained.",
                ConfinementWarning,
                stacklevel=2,
            )
        return child

    def _session(
        self, graph: str, inputs: tuple[str, ...], provider: Provider = "cpu", threads: int | None = 1
    ) -> Session | ChildSession:
        data, name = self.bundle.graph(graph), f"{self.bundle.path}: {graph}"
        if self.trust == "unknown":
            return self._child.session(data, name, inputs)
        return Session(data, name, inputs, provider, threads)


def _embedded_or_error(graphs: Graphs, as_shot: bool, image: UnreadImage) -> EmbeddedImage | ImageError:
    try:
        return graphs.embed_image(image, as_shot=as_shot)
    except ImageError as error:
        return error


def embedded_or_raise(images: Generator[EmbeddedImage | ImageError, None, None]) -> Iterator[EmbeddedImage]:
    """Embedded images named by their file alone: where one lay is nobody's business who gets the classifier."""
    with closing(images):
        for image in images:
            if isinstance(image, ImageError):
                raise image
            yield replace(image, name=Path(image.name).name)
