"""A bundle, which runs as on a device, or a training run, which needs PyTorch, behind one door; and `evaluate` for both."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_adapt.extras import missing
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.data.source import DataSource
from edge_adapt.runtime.errors import EdgeAdaptError, ProviderError
from edge_adapt.runtime.evaluation import Evaluation, evaluate_episodes
from edge_adapt.runtime.model import MetaModel, load_model, models
from edge_adapt.runtime.words import plural

if TYPE_CHECKING:
    from torch import nn

    from edge_adapt.networks.episode_model import LearnerModel
    from edge_adapt.runtime.bundle.card import ModelCard
    from edge_adapt.runtime.graphs import Graphs
    from edge_adapt.runtime.sessions import Provider


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model that is ready to be measured.

    Attributes:
        model: what embeds, adapts and predicts.
        card: what it says of itself.
        location: the bundle's path or name, or the folder of the run.
        kind: "bundle", or "training run" with its backbone.
        runs_on: says, once it has run, what really runs it.
        size: bytes of a bundle's file; 0 for a run.
        entries: bytes of each part of that file, by name.
    """

    model: Graphs | LearnerModel
    card: ModelCard
    location: str
    kind: str
    runs_on: Callable[[], str]
    size: int = 0
    entries: Mapping[str, int] = field(default_factory=dict)


def is_run(model: str | os.PathLike[str]) -> bool:
    """Whether this is the folder of a training run, and neither a bundle nor a bundled model's name."""
    return Path(model).is_dir() and os.fspath(model) not in models()


def open_model(
    model: MetaModel | str | os.PathLike[str],
    *,
    all_layers: bool = False,
    backbone: nn.Module | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
) -> OpenedModel:
    """A bundle, opened or not, a bundled model by its name, or a training run.

    Raises:
        EdgeAdaptError: it cannot be used, is no meta-model for classification, or is a bundle with `all_layers`.
    """
    if not isinstance(model, MetaModel):
        if is_run(model):
            return _open_run(model, all_layers, backbone, provider, threads)
        model = load_model(model, provider, threads)
    if all_layers:
        raise EdgeAdaptError(
            f"{model.location} is a bundle, which adapts what it was exported to; --all-layers is for a training run."
        )
    graphs = model.graphs
    graphs.check_task()
    bundle = graphs.bundle
    return OpenedModel(
        graphs,
        graphs.manifest,
        model.location,
        "bundle",
        lambda: _onnx_runtime(graphs, threads),
        bundle.path.stat().st_size,
        bundle.sizes,
    )


def _onnx_runtime(graphs: Graphs, threads: int | None) -> str:
    import onnxruntime

    provider = graphs.provider.removesuffix("ExecutionProvider")
    of_embed = f"embed on {_cpu(threads) if provider == 'CPU' else provider}"
    return f"ONNX Runtime {onnxruntime.__version__}, {of_embed}, adapt and predict on 1 thread of the CPU"


def _cpu(threads: int | None) -> str:
    return plural(threads or os.cpu_count() or 1, "thread")


def _open_run(
    run: str | os.PathLike[str], all_layers: bool, backbone: nn.Module | None, provider: Provider, threads: int | None
) -> OpenedModel:
    # Before PyTorch is missed: on a device, a folder here is photos in the wrong place.
    if not (any(Path(run).glob("checkpoint.pt")) or any(Path(run).glob("*/checkpoint.pt"))):
        raise EdgeAdaptError(
            f"{os.fspath(run)}: there is no checkpoint.pt; give a bundle, or the folder of a training run."
        )
    if provider not in ("auto", "cpu", "cuda"):
        raise ProviderError(
            f"{os.fspath(run)} is a training run, which PyTorch runs: it takes --provider auto, cpu or cuda, not {provider}."
        )
    try:
        import torch

        from edge_adapt.networks.episode_model import AllLayersModel, LearnerModel
        from edge_adapt.training.card import card_of_run
        from edge_adapt.training.compute import choose_device
        from edge_adapt.training.run import load_learner
    except ModuleNotFoundError as error:
        raise missing(f"{os.fspath(run)} is a training run, which", error.name or "torch", "train") from error
    learner, checkpoint = load_learner(run, backbone, all_layers)
    device = choose_device(provider)
    if threads is not None:
        torch.set_num_threads(threads)
    learner.to(device)
    card = card_of_run(run, checkpoint, all_layers)
    place = _cpu(threads) if device.type == "cpu" else device.type.upper()
    return OpenedModel(
        AllLayersModel(learner, device, card.preprocessing) if all_layers else LearnerModel(learner, device),
        card,
        os.fspath(run),
        f"training run, backbone {checkpoint.config.backbone}",
        lambda: f"PyTorch {torch.__version__} (not a bundle), {place}",
    )


def require_within_limits(card: ModelCard, protocol: EvaluationProtocol) -> None:
    """Raise EdgeAdaptError for a model that says of itself that it takes no such episodes."""
    n_way, n_shot = protocol.n_way, protocol.n_shot
    if card.max_ways is not None and n_way > card.max_ways:
        raise EdgeAdaptError(f"{card.name} takes at most {card.max_ways} classes; choose a smaller --way than {n_way}.")
    if card.max_support is not None and n_way * n_shot > card.max_support:
        raise EdgeAdaptError(
            f"{card.name} takes at most {card.max_support} support images, and {n_way}-way {n_shot}-shot episodes have "
            f"{n_way * n_shot}; choose a smaller --way or --shot."
        )


def evaluate(
    model: MetaModel | str | os.PathLike[str],
    data: ImageDataset | DataSource | str | os.PathLike[str],
    protocol: EvaluationProtocol = EvaluationProtocol(),  # noqa: B008  (frozen)
    *,
    all_layers: bool = False,
    backbone: nn.Module | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure accuracy over random episodes of classes in `data`, each query on its own (non-transductive).

    Args:
        model: a bundle's path or name, what `load_model` gave, or the folder of a training run.
        data: a folder or zip with one sub-folder a class, or what `load_dataset` gave with the model's preprocessing.
        protocol: over which episodes, and with how many steps.
        all_layers: adapt all layers, as in meta-training with MAML; runs only.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        provider: what computes, as `load` takes it, unless the model is loaded; a run takes `auto`, `cpu` or `cuda`.
        threads: of the CPU, unless the model is loaded; None takes all cores.
        progress: show bars.

    Raises:
        EdgeAdaptError: the model or the data cannot be used for this.
    """
    opened = open_model(model, all_layers=all_layers, backbone=backbone, provider=provider, threads=threads)
    card, preprocessing = opened.card, opened.card.preprocessing
    require_within_limits(card, protocol)
    if protocol.steps and not opened.model.takes_steps:
        raise EdgeAdaptError(f"{opened.location} takes no gradient steps; leave the number of steps out.")
    if not isinstance(data, ImageDataset):
        data = DataSource.of(data).load(preprocessing, progress=progress)
    expected = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if data.images.shape[1:] != expected:
        raise EdgeAdaptError(
            f"{data.source} was read as {data.images.shape[1:]} and {opened.location} takes {expected} (H, W, C)."
        )
    steps = card.default_steps if protocol.steps is None else protocol.steps
    protocol = replace(protocol, steps=steps)
    return evaluate_episodes(opened.model, data, protocol, views=card.support_views, progress=progress)
