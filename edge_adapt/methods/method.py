"""What a method is: a head, what the inner loop adapts, and what the outer loop minimizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from edge_adapt.methods.episodes import EpisodeShape
from edge_adapt.methods.objective import Episodic, Objective, TrainingData
from edge_adapt.networks.gradient_head import GradientHead, Initialization
from edge_adapt.networks.head import Head
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError

CENTRED_SCALE = 10.0
"""Where the scale of prototypes starts from with features of length 1: as cosine classifiers commonly do."""


@dataclass(frozen=True)
class Method(ABC):
    """What to train. Its fields are its settings; one of your own is a subclass.

    Attributes:
        name: what `--method` and a bundle call it.
        summary: what it is, in a line.
        adapts_all_layers: whether its inner loop does, so that the backbone is built without batch statistics.
        of_images: whether an outer step is of `batch_size` images of all classes, without episodes. Its head learns nothing, and
            features are centred at its end.
        keeps_best: whether the state with the best validation accuracy is what exports; if not, the end is.
        leaves_backbone: whether it learns the head alone, on a backbone that is there already.
        learning_rate, centred, iterations, minutes: of a configuration that says nothing of them.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    adapts_all_layers: ClassVar[bool] = False
    of_images: ClassVar[bool] = False
    keeps_best: ClassVar[bool] = True
    leaves_backbone: ClassVar[bool] = False
    learning_rate: ClassVar[float] = 0.002
    centred: ClassVar[bool] = False
    iterations: ClassVar[int | None] = None
    minutes: ClassVar[float | None] = 30.0

    @property
    def inner_steps(self) -> int:
        """How many gradient steps an adaptation takes; 0 of a method without steps."""
        return 0

    @abstractmethod
    def head(self, feature_size: int, centred: bool) -> Head:
        """The untrained head, for features of this size D, of length 1 where they are centred."""

    def inner_loop(self, backbone: nn.Module) -> InnerLoop | None:
        """The inner loop on all layers of a backbone; None for a method that adapts the last layer, or nothing."""
        return None

    def objective(self, learner: MetaLearner, data: TrainingData) -> Objective:
        """What its outer loop minimizes."""
        return Episodic(data, self.inner_steps)

    def require(self, data: ImageDataset, episodes: EpisodeShape) -> None:
        """Raise DataError unless the training classes suffice."""
        data.require(episodes.n_way, episodes.images)


@dataclass(frozen=True)
class GradientMethod(Method):
    """A method whose adaptation takes gradient steps on the last layer on the device.

    Attributes:
        initialization: where the last layer starts from.
        steps: of the inner loop.

    Raises:
        EdgeAdaptError: an initialization or a number of steps that cannot be.
    """

    initialization: Initialization = "prototype"
    steps: int = 5

    def __post_init__(self) -> None:
        if self.initialization not in ("prototype", "zero"):
            raise EdgeAdaptError(f"initialization is {self.initialization!r}; choose one of prototype, zero.")
        if self.steps < 0:
            raise EdgeAdaptError(f"steps is {self.steps}; take 0 or more.")
        if self.steps > MAX_STEPS:
            raise EdgeAdaptError(f"steps is {self.steps}; take {MAX_STEPS} or less.")
        if self.adapts_all_layers and not self.steps:
            raise EdgeAdaptError(f"steps is 0, and {self.name} is its steps; take 1 or more.")

    @property
    def inner_steps(self) -> int:
        """See `Method.inner_steps`."""
        return self.steps

    def head(self, feature_size: int, centred: bool) -> Head:
        """A gradient head."""
        return GradientHead(self.initialization, distance_scale(feature_size, centred))


def distance_scale(feature_size: int, centred: bool) -> float:
    """What makes logits of squared distances between features, before meta-training.

    These add up to the order of D where each feature is of the order of 1. A scale that leaves them so, logits of a hundred with
    1600 features, took the loss to chance, and there it stayed.
    """
    return CENTRED_SCALE if centred else 6.4 / feature_size
