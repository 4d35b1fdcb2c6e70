"""Measuring on validation classes along the way: how good a learner is, which state is the best, and when to stop."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from edge_adapt.methods.feature_cache import digest_of
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.contract import BATCH
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import Features, embed_dataset, evaluate_episodes
from edge_adapt.runtime.words import plural
from edge_adapt.training.checkpoint import Record, Snapshot
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig

VALIDATIONS = 20
"""In a whole run; in one of minutes as many as fit into a tenth of it."""

IMAGES = 100
"""Of each validation class at most, where episodes do not take more: measuring is to take little beside training."""

N_QUERY = 15
"""Of a class in an episode, where there are images enough."""

QUERIES = 150_000
"""To answer in a validation: 2000 episodes of 5 ways with 15 queries a class. Two states of a run meet the same ones, and their
difference is known to 0.3 points or better (95%, mini-ImageNet 5-way 1-shot; 0.02 on Omniglot). That takes 1.2 s on one core,
beside 3 to 6 s in which the images are embedded."""

LEAST_EPISODES, MOST_EPISODES = 200, 2000


_TRIAL_EPISODES = 5


class Validation:
    """Validation classes, and the episodes of them: the same ones each time.

    Whatever the inner loop adapts in meta-training, here it is the last layer, as on the device. Support images are looked at
    once, for the sake of time: states of a run differ by the same with more views.

    Args:
        data: the validation classes.
        config: ways, shots, steps and the seed of the episodes.
        device: where the learner lies.
    """

    def __init__(self, data: ImageDataset, config: TrainingConfig, device: torch.device) -> None:
        thinned = _thinned(data, max(IMAGES, config.n_shot + N_QUERY))
        self._data, self._config, self._device = thinned, config, device
        self._n_way = min(config.episodes.n_way, len(data.class_names))
        self._n_query = max(1, min(N_QUERY, int(self._data.counts.min()) - config.n_shot))
        self._episodes = min(MOST_EPISODES, max(LEAST_EPISODES, QUERIES // (self._n_way * self._n_query)))
        self._weights, self._features = "", Features(*[np.empty((0, 0), np.float32)] * 2)

    def accuracy(self, learner: MetaLearner, execution: Execution) -> float:
        """The share of right answers, with running statistics."""
        learner.eval()
        model = LearnerModel(learner, self._device)
        accuracy = self._over_episodes(model, self._episodes, self._embedded(learner, model, execution))
        learner.train()
        return accuracy

    def fit_into(self, seconds: float, learner: MetaLearner, execution: Execution) -> int:
        """How often to measure so that all of it takes so long, 1 to `VALIDATIONS`, by a trial on a few images and episodes.

        Where not even one fits, it is of fewer classes and episodes from now on.
        """
        learner.eval()
        model, count = LearnerModel(learner, self._device), len(self._data.images)
        images = self._data.images[:BATCH]
        with execution.applied(learner):
            for _ in range(2):  # the first builds kernels
                began = time.perf_counter()
                rows = model.embed(images)
                embedding = (time.perf_counter() - began) * count / len(images)
        features = Features(*[np.resize(rows, (count, rows.shape[1]))] * 2)
        began = time.perf_counter()
        self._over_episodes(model, _TRIAL_EPISODES, features)
        fitting = seconds / (embedding + (time.perf_counter() - began) * self._episodes / _TRIAL_EPISODES)
        learner.train()
        if fitting < 1:
            n_classes = len(self._data.class_names)
            self._data = _of_classes(self._data, max(self._n_way, int(n_classes * fitting)))
            self._episodes = max(LEAST_EPISODES, int(self._episodes * fitting))
        return max(1, min(VALIDATIONS, int(fitting)))

    @property
    def description(self) -> str:
        """What is measured, in words."""
        return (
            f"{plural(len(self._data.class_names), 'class', 'classes')}, {self._n_way}-way {self._config.n_shot}-shot"
        )

    def _over_episodes(self, model: LearnerModel, episodes: int, features: Features) -> float:
        return evaluate_episodes(
            model,
            self._data,
            EvaluationProtocol(
                n_way=self._n_way,
                n_shot=self._config.n_shot,
                n_query=self._n_query,
                episodes=episodes,
                steps=self._config.method.inner_steps,
                seed=self._config.seed,
            ),
            features=features,
        ).accuracy

    def _embedded(self, learner: MetaLearner, model: LearnerModel, execution: Execution) -> Features:
        """The features of all images, computed anew where the embedding has changed."""
        weights = digest_of(learner.embedding)
        if weights != self._weights:
            with execution.applied(learner):
                self._weights, self._features = weights, embed_dataset(model, self._data)
        return self._features


def digest_of_classes(data: ImageDataset | None, counts: bool = True) -> str:
    """SHA-256 of the names of the classes and of how many images each has, hexadecimal; empty for none."""
    if data is None:
        return ""
    return hashlib.sha256(json.dumps([data.class_names, data.counts.tolist() if counts else []]).encode()).hexdigest()


def require_validation(config: TrainingConfig, validation: ImageDataset | None) -> None:
    """Raise unless there is something to be patient with."""
    if config.patience is not None and validation is None:
        raise EdgeAdaptError(
            f"patience is {config.patience} validations, and there are no validation classes; give some, or leave it out."
        )


def better(best: Snapshot | None, iteration: int, accuracy: float, learner: MetaLearner) -> Snapshot:
    """The best state so far, now that `learner` has been measured; of equals the later one, which has learned for longer."""
    if best is not None and best.validation is not None and accuracy < best.validation:
        return best
    state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in learner.state_dict().items()}
    return Snapshot(iteration, accuracy, state)


def out_of_patience(patience: int | None, records: Sequence[Record]) -> bool:
    """Whether `patience` validations have passed since the best accuracy was first reached."""
    accuracies = [record.validation for record in records if record.validation is not None]
    if patience is None or not accuracies:
        return False
    return len(accuracies) - 1 - accuracies.index(max(accuracies)) >= patience


def _thinned(data: ImageDataset, per_class: int) -> ImageDataset:
    """Up to `per_class` images of each class, evenly spaced."""
    chosen = [
        start + np.linspace(0, count - 1, min(count, per_class)).astype(np.int64)
        for start, count in zip(data.starts[:-1], data.counts, strict=True)
    ]
    return _of_images(data, data.class_names, chosen)


def _of_classes(data: ImageDataset, n_classes: int) -> ImageDataset:
    """So many classes, evenly spaced."""
    classes = np.linspace(0, len(data.class_names) - 1, n_classes).astype(np.int64)
    chosen = [np.arange(data.starts[c], data.starts[c + 1]) for c in classes]
    return _of_images(data, tuple(data.class_names[c] for c in classes), chosen)


def _of_images(data: ImageDataset, class_names: tuple[str, ...], chosen: Sequence[NDArray[np.int64]]) -> ImageDataset:
    """These classes, of which these images."""
    starts = np.cumsum([0, *map(len, chosen)], dtype=np.int64)
    return replace(data, images=data.images[np.concatenate(chosen)], class_names=class_names, starts=starts, files=())
