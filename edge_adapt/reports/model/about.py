"""What a report says about the model itself, and how the model is opened for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_adapt.evaluation import is_run, open_for_evaluation
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load

if TYPE_CHECKING:
    from torch import nn

    from edge_adapt.runtime.contract import EpisodeModel
    from edge_adapt.runtime.images.preprocessing import Preprocessing
    from edge_adapt.runtime.images.views import View
    from edge_adapt.runtime.sessions import Provider


@dataclass(frozen=True)
class About:
    """A model in words and numbers.

    Attributes:
        name: its own name, or the run's folder's.
        kind: "bundle" or "training run".
        method, trained_on, license: as the model says; empty where it does not.
        precision: of the weights.
        preprocessing: the images it takes.
        default_steps: of the inner loop.
        support_views: how it looks at support images beside as they are.
        max_ways, max_support: its limits; None: none of its own.
        size: bytes of the bundle's file, and `entries`, of each part in it; 0 and empty for a run.
    """

    name: str
    kind: str
    method: str
    trained_on: str
    license: str
    precision: str
    preprocessing: Preprocessing
    default_steps: int
    support_views: tuple[View, ...] = ()
    max_ways: int | None = None
    max_support: int | None = None
    size: int = 0
    entries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Opened:
    """A model ready to be measured: `runs_on` says, once it has run, what really runs it."""

    model: EpisodeModel
    about: About
    runs_on: Callable[[], str]


def open_model(
    model: str | os.PathLike[str], provider: Provider, threads: int | None, backbone: nn.Module | None
) -> Opened:
    """Open a bundle, a bundled model by its name, or a training run.

    Raises:
        EdgeAdaptError: it cannot be used, or is no meta-model for classification.
    """
    used = f"{os.cpu_count()} threads" if threads is None else "1 thread" if threads == 1 else f"{threads} threads"
    if is_run(model):
        return _open_run(model, provider, threads, backbone, used)
    loaded = load(model, provider, threads)
    if isinstance(loaded, Classifier):
        raise BundleError(
            f"{os.fspath(model)} is an adapted classifier, and a report is about a model before it is adapted; give the model "
            "it was made from, or measure the classifier with `edge-adapt evaluate`."
        )
    loaded.graphs.check_task()
    return Opened(loaded.graphs, _about_bundle(loaded.graphs), lambda: _runtime(loaded.graphs, used))


def _about_bundle(graphs: Graphs) -> About:
    manifest, bundle = graphs.manifest, graphs.bundle
    return About(
        name=manifest.name,
        kind="bundle",
        method=manifest.method,
        trained_on=manifest.trained_on,
        license=manifest.license,
        precision=manifest.precision,
        preprocessing=manifest.preprocessing,
        default_steps=manifest.default_steps,
        support_views=manifest.support_views,
        max_ways=manifest.max_ways,
        max_support=manifest.max_support,
        size=bundle.path.stat().st_size,
        entries=bundle.sizes,
    )


def _runtime(graphs: Graphs, used: str) -> str:
    import onnxruntime

    provider = graphs.provider.removesuffix("ExecutionProvider")
    of_embed = f"embed on {used}" if provider == "CPU" else f"embed on {provider}"
    return f"ONNX Runtime {onnxruntime.__version__}, {of_embed}, adapt and predict on 1 thread of the CPU"


def _open_run(
    run: str | os.PathLike[str], provider: Provider, threads: int | None, backbone: nn.Module | None, used: str
) -> Opened:
    opened = open_for_evaluation(run, provider=provider, threads=threads, backbone=backbone)
    # PyTorch is there: the run is open.
    import torch

    from edge_adapt.training.checkpoint import load_checkpoint
    from edge_adapt.training.compute import choose_device

    checkpoint, device = load_checkpoint(run), choose_device(provider)
    about = About(
        name=Path(run).resolve().name,
        kind="training run",
        method=f"{checkpoint.config.method.name}, backbone {checkpoint.config.backbone}",
        trained_on=checkpoint.trained_on,
        license="",
        precision="fp32",
        preprocessing=opened.preprocessing,
        default_steps=opened.default_steps,
        support_views=opened.support_views,
    )
    place = used if device.type == "cpu" else device.type.upper()
    return Opened(opened.model, about, lambda: f"PyTorch {torch.__version__} (not a bundle), {place}")
