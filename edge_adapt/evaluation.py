"""`evaluate`: one verb for bundles, which run as on a device, and for training runs, which need PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_adapt.extras import missing
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import Evaluation, evaluate_episodes
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model, models

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from edge_adapt.runtime.data.dataset import ImageDataset
    from edge_adapt.runtime.images.preprocessing import Preprocessing
    from edge_adapt.runtime.images.views import View
    from edge_adapt.runtime.sessions import Provider


class Evaluable(NamedTuple):
    """Something to evaluate, the images that it takes, the steps that it takes where nothing else is said, and its views."""

    model: EpisodeModel
    preprocessing: Preprocessing
    default_steps: int
    support_views: tuple[View, ...]


def is_run(model: str | os.PathLike[str]) -> bool:
    """Whether this is the folder of a training run, and neither a bundle nor a bundled model's name."""
    return Path(model).is_dir() and os.fspath(model) not in models()


def open_for_evaluation(
    model: str | os.PathLike[str],
    *,
    all_layers: bool = False,
    backbone: nn.Module | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
) -> Evaluable:
    """A bundle or a run as something to evaluate.

    Raises:
        EdgeAdaptError: neither bundle nor run, or `all_layers` for a bundle.
    """
    if is_run(model):
        return _open_run(model, all_layers, backbone, provider, threads)
    if all_layers:
        raise EdgeAdaptError(
            f"{os.fspath(model)} is a bundle, which adapts the last layer; --all-layers needs a training run."
        )
    graphs = load_model(model, provider, threads).graphs
    manifest = graphs.manifest
    return Evaluable(graphs, manifest.preprocessing, manifest.default_steps, manifest.support_views)


def _open_run(
    run: str | os.PathLike[str], all_layers: bool, backbone: nn.Module | None, provider: Provider, threads: int | None
) -> Evaluable:
    # Before PyTorch is missed: on a device, a folder here is photos in the wrong place.
    if not (any(Path(run).glob("checkpoint.pt")) or any(Path(run).glob("*/checkpoint.pt"))):
        raise EdgeAdaptError(
            f"{os.fspath(run)}: there is no checkpoint.pt; give a bundle, or the folder of a training run."
        )
    try:
        import torch

        from edge_adapt.networks.episode_model import LearnerModel
        from edge_adapt.training.compute import choose_device
        from edge_adapt.training.run import load_learner
    except ModuleNotFoundError as error:
        raise missing(f"{os.fspath(run)} is a training run, which", error.name or "torch", "train") from error
    learner, checkpoint = load_learner(run, backbone)
    if all_layers and learner.inner_loop is None:
        raise EdgeAdaptError(
            f"{os.fspath(run)} was trained with {checkpoint.config.method.name}, which has no inner loop on all layers."
        )
    place = choose_device(provider)
    if threads is not None:
        torch.set_num_threads(threads)
    model, config = LearnerModel(learner.to(place), place, all_layers), checkpoint.config
    # An inner loop on all layers adapts to images, and the mean of two images is none.
    return Evaluable(model, config.preprocessing, config.method.inner_steps, () if all_layers else config.support_views)


def require_within_limits(model: EpisodeModel, n_way: int, n_shot: int) -> None:
    """Raise EdgeAdaptError for a bundle that says of itself that it takes no such episodes."""
    if not isinstance(model, Graphs):
        return
    limits = model.manifest
    if limits.max_ways is not None and n_way > limits.max_ways:
        raise EdgeAdaptError(
            f"{limits.name} takes at most {limits.max_ways} classes; choose a smaller --way than {n_way}."
        )
    if limits.max_support is not None and n_way * n_shot > limits.max_support:
        raise EdgeAdaptError(
            f"{limits.name} takes at most {limits.max_support} support images, and {n_way}-way {n_shot}-shot episodes have "
            f"{n_way * n_shot}; choose a smaller --way or --shot."
        )


def takes_steps(model: EpisodeModel, features: NDArray[np.float32]) -> bool:
    """Whether a model's `adapt` has an inner loop, tried on two support features [2, D]: one without gives no losses."""
    _, losses = model.adapt(features, np.array([0, 1], np.int64), 2, 1)
    return len(losses) > 0


def require_steps(model: EpisodeModel, preprocessing: Preprocessing, name: str | os.PathLike[str]) -> None:
    """Raise EdgeAdaptError for a model that takes no gradient steps, and would pass over a number of them in silence."""
    blank = np.zeros((2, preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8)
    if not takes_steps(model, model.embed(blank)):
        raise EdgeAdaptError(f"{os.fspath(name)} takes no gradient steps; leave the number of steps out.")


def evaluate(
    model: str | os.PathLike[str],
    data: ImageDataset | Callable[[Preprocessing], ImageDataset],
    *,
    n_way: int = 5,
    n_shot: int = 1,
    n_query: int = 15,
    episodes: int = 1000,
    steps: int | None = None,
    seed: int = 0,
    support_files: str | None = None,
    query_files: str | None = None,
    all_layers: bool = False,
    backbone: nn.Module | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure accuracy over random episodes of classes in `data`, each query on its own (non-transductive).

    Args:
        model: a bundle's path or name, or the folder of a training run.
        data: from `load_dataset` with the model's preprocessing, or a function that loads it with what it is given.
        n_way, n_shot, n_query: of the episodes; a class with too few images gives fewer queries.
        episodes: how many to draw.
        steps: of the inner loop; None takes the model's own number.
        seed: of the drawing; the same seed draws the same episodes.
        support_files, query_files: patterns such as "train_*" for the names of the files that may be drawn for the support
            set and for the query set; None: all.
        all_layers: adapt all layers, as in meta-training with MAML; runs only.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        provider: what computes, `auto`, `cpu` or `cuda`.
        threads: of the CPU; None takes all cores.
        progress: show a bar.

    Raises:
        EdgeAdaptError: the model or the data cannot be used for this.
    """
    opened = open_for_evaluation(model, all_layers=all_layers, backbone=backbone, provider=provider, threads=threads)
    preprocessing = opened.preprocessing
    require_within_limits(opened.model, n_way, n_shot)
    if steps:
        require_steps(opened.model, preprocessing, model)
    if callable(data):
        data = data(preprocessing)
    expected = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if data.images.shape[1:] != expected:
        raise EdgeAdaptError(
            f"{data.source} was read as {data.images.shape[1:]} and {os.fspath(model)} takes {expected} (H, W, C)."
        )
    return evaluate_episodes(
        opened.model,
        data,
        n_way=n_way,
        n_shot=n_shot,
        n_query=n_query,
        episodes=episodes,
        steps=opened.default_steps if steps is None else steps,
        seed=seed,
        support_files=support_files,
        query_files=query_files,
        views=opened.support_views,
        progress=progress,
    )
