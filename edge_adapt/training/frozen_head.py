"""Meta-training of a gradient head on features that are there already, without a run: one number, in a few seconds."""

from __future__ import annotations

import torch
from torch import nn

from edge_adapt.methods.episodes import EpisodeSampler
from edge_adapt.methods.head_only import EPISODES, ITERATIONS, LEARNING_RATE, HeadAlone
from edge_adapt.networks.gradient_head import GradientHead, Initialization
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.runtime.progress import Progress
from edge_adapt.training.compute import Execution
from edge_adapt.training.outer_step import OuterStep


class FrozenHead:
    """A head and the features that it is to learn from.

    Args:
        initialization: of the head.
        features: float32 [I, D], on the CPU.
        source: where they came from, for messages.
        steps: of the inner loop.

    Raises:
        DataError: too few classes have the images for an episode.
    """

    def __init__(self, initialization: Initialization, features: EpisodeSampler, source: str, steps: int) -> None:
        self.head = GradientHead(initialization)
        self._learner = MetaLearner(Embedding(nn.Identity(), torch.zeros(3), torch.ones(3)), self.head)
        self._objective = HeadAlone(lambda _: features, source, EPISODES, steps, torch.Generator())
        self._objective.prepare(self._learner)

    def expected_accuracy(self) -> float:
        """Of the head as it is, over episodes of all shapes, the same ones each time."""
        return self._objective.expected_accuracy(self._learner)

    def meta_train(self, iterations: int = ITERATIONS, seed: int = 0, progress: bool = False) -> None:
        """Learn the head's few numbers in so many outer steps, of episodes that follow from the seed."""
        generator, objective = self._objective.generator, self._objective
        optimizer = objective.optimizer(self._learner, LEARNING_RATE)
        step = OuterStep(self._learner, objective, optimizer, generator, seed)
        execution = Execution(EPISODES, bf16=False)
        with Progress("meta-training", iterations, "steps", show=progress) as bar:
            for iteration in range(iterations):
                metrics = step.take(iteration, execution, iteration / iterations, LEARNING_RATE)
                bar.advance(1, f"loss {metrics.loss:.3f}" if metrics else "")
