"""A network of somebody else's, whose features a student learns to give: a bundle, an ONNX file or a module."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_adapt.methods.feature_cache import digest_of
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.sessions import Provider, Session
from edge_adapt.runtime.words import first_line

if TYPE_CHECKING:
    from edge_adapt.export.embed.from_extractor import PixelNormalization


@dataclass(frozen=True, eq=False)
class FeatureTeacher:
    """A network that stays as it is, and sees images of a size of its own.

    Attributes:
        name: what messages call it.
        preprocessing: the size and channels of the images that it takes.
        feature_size: D.
        digest: what tells it from others, hexadecimal.
        embed: uint8 [B, H, W, C] to features, float32 [B, D].
        source: the arguments of `read` as plain data, its path absolute; empty for a module.
    """

    name: str
    preprocessing: Preprocessing
    feature_size: int
    digest: str
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        normalization: PixelNormalization | None = None,
        image_size: int | None = None,
        output: str | None = None,
        provider: Provider = "auto",
        threads: int | None = None,
    ) -> FeatureTeacher:
        """The teacher in a file: a bundle, of which `embed` teaches, or an ONNX feature extractor, as `wrap` takes it.

        Args:
            path: the file.
            normalization: what an ONNX file that takes floats wants done to pixels; None takes that of ImageNet. Bundles, and
                files that take uint8, do it themselves.
            image_size: height and width, pixels, where an ONNX file leaves them open.
            output: the tensor to take as the features of an ONNX file; None takes the only output.
            provider: what runs it.
            threads: of the CPU; None takes all cores.

        Raises:
            EdgeAdaptError: it is neither, or is damaged, or cannot be used; says what to do.
        """
        if Path(path).is_dir():
            raise EdgeAdaptError(
                f"{os.fspath(path)} is a folder, and features are learned from a bundle or an ONNX file; give one, or of a run "
                "what `edge-adapt export` makes of it."
            )
        source = {
            "path": str(Path(path).absolute()),
            "normalization": normalization and asdict(normalization),
            "image_size": image_size,
            "output": output,
        }
        if Path(path).suffix == ".edge" or zipfile.is_zipfile(path):
            return replace(_of_bundle(path, provider, threads), source=source)
        try:
            return replace(_of_extractor(path, normalization, image_size, output, provider, threads), source=source)
        except EdgeAdaptError as error:  # which names the options of `wrap`
            raise EdgeAdaptError(re.sub("--(image-size|output-name)", r"--teacher-\1", str(error))) from error

    @classmethod
    def of_module(
        cls, module: Callable[[Tensor], Tensor], image_size: int, *, grayscale: bool = False, name: str = ""
    ) -> FeatureTeacher:
        """A module, or another function, as a teacher.

        Args:
            module: uint8 [B, image_size, image_size, C] to features, float [B, D]. A `torch.nn.Module` is in evaluation mode from
                now on, and gets its images where its parameters lie.
            image_size: height and width, pixels.
            grayscale: whether C is 1 and not 3.
            name: what messages call it, and what tells a function, which has no weights, from others.

        Raises:
            EdgeAdaptError: it fails on blank images, does not give one vector an image, or is a function without a name.
        """
        called = name or type(module).__name__
        weights, device = "", torch.device("cpu")
        if isinstance(module, nn.Module):
            module.eval()
            weights = digest_of(module)
            device = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), device)
        elif not name:
            raise EdgeAdaptError("a teacher that is a function has no weights to be known by; give it a name.")

        @torch.no_grad()
        def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            features: NDArray[np.float32] = module(torch.from_numpy(images).to(device)).to("cpu", torch.float32).numpy()
            return features

        preprocessing = Preprocessing(image_size, image_size, 1 if grayscale else 3)
        digest = sha256(f"{called} {weights} {preprocessing}".encode()).hexdigest()
        return cls(called, preprocessing, _feature_size(embed, preprocessing, called), digest, embed)


def _of_bundle(path: str | os.PathLike[str], provider: Provider, threads: int | None) -> FeatureTeacher:
    bundle = Bundle.open(path)
    bundle.graph("embed.onnx")  # or damage would show only where its features are computed
    graphs, manifest = Graphs(bundle, provider, threads), bundle.manifest
    digest = manifest.graphs["embed.onnx"]
    return FeatureTeacher(os.fspath(path), manifest.preprocessing, manifest.feature_size, digest, graphs.embed)


def _of_extractor(
    path: str | os.PathLike[str],
    normalization: PixelNormalization | None,
    image_size: int | None,
    output: str | None,
    provider: Provider,
    threads: int | None,
) -> FeatureTeacher:
    from edge_adapt.export.embed.extractor import FLOATS, read_extractor
    from edge_adapt.export.embed.from_extractor import (
        NORMALIZATIONS,
        OriginalExtractor,
        check_features,
        embed_around,
        finished,
    )

    read = read_extractor(path, output, image_size)
    normalization = (normalization or NORMALIZATIONS["imagenet"]) if read.input_type in FLOATS else None
    embed_graph = finished(embed_around(read, normalization), read.path)
    check_features(read, OriginalExtractor(read, normalization, threads), embed_graph)
    session = Session(embed_graph, read.path, ("images",), provider, threads)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(session.run({"images": images})[0], np.float32)

    digest = sha256(read.original.SerializeToString(deterministic=True))
    digest.update(f"{read.output} {normalization} {read.preprocessing}".encode())
    size = _feature_size(embed, read.preprocessing, read.path)
    return FeatureTeacher(read.path, read.preprocessing, size, digest.hexdigest(), embed)


def _feature_size(
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]], preprocessing: Preprocessing, name: str
) -> int:
    """D: tries it on two blank images."""
    size = (preprocessing.height, preprocessing.width, preprocessing.channels)
    try:
        features = embed(np.zeros((2, *size), np.uint8))
    except Exception as error:  # whatever somebody's module raises
        reason = first_line(error)
        raise EdgeAdaptError(
            f"the teacher {name} fails on uint8 images of {size} (H, W, C) ({reason}); choose another image size, or let it take "
            "them."
        ) from error
    if features.ndim != 2 or len(features) != 2:
        raise EdgeAdaptError(
            f"the teacher {name} gives {list(features.shape)} for 2 images where [2, D] is needed; let it give one vector an "
            "image."
        )
    return int(features.shape[1])
