"""What a method is: a head, what the inner loop adapts, and what the outer loop minimizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from edge_adapt.methods.objective import Episodic, Objective, TrainingData
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.head import Head
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.runtime.data.dataset import ImageDataset

if TYPE_CHECKING:
    from edge_adapt.training.config import TrainingConfig

CENTRED_SCALE = 10.0
"""Where the scale of prototypes starts from with features of length 1: as cosine classifiers commonly do."""

OPTIONS = frozenset(
    {
        "head",
        "steps",
        "first_order",
        "per_step_rates",
        "multi_step_loss",
        "recompute",
        "teacher_crops",
        "teacher_share",
    }
)
"""Fields of `TrainingConfig` that say something to some methods only."""

ALL_LAYERS = frozenset({"head", "steps", "first_order", "multi_step_loss", "recompute"})
"""Those of methods whose inner loop adapts all layers."""


def gradient_head(config: TrainingConfig, feature_size: int) -> Head:
    """The head of the methods that take gradient steps on the device."""
    return GradientHead(config.head, distance_scale(config, feature_size))


def distance_scale(config: TrainingConfig, feature_size: int) -> float:
    """What makes logits of squared distances between features, before meta-training.

    These add up to the order of D where each feature is of the order of 1. A scale that leaves them so, logits of a hundred with
    1600 features, took the loss to chance, and there it stayed.
    """
    return CENTRED_SCALE if config.centred else 6.4 / feature_size


@dataclass(frozen=True)
class Method:
    """One choice of `--method`.

    Attributes:
        summary: what it is, in a line.
        head: builds the head of a configuration, for features of a size D.
        objective: builds what its outer loop minimizes.
        inner_loop: builds the inner loop on all layers of a backbone; None for a method that adapts the last layer, or nothing.
        options: the fields of `TrainingConfig` that it takes among those that not every method takes, `OPTIONS`.
        default_steps: of the inner loop; 0 for a method without steps.
        require: raises DataError unless the training classes suffice; None for a method that learns from episodes of `n_way`
            classes with `n_shot` + `n_query` images each.
        keeps_best: whether the state with the best validation accuracy is what exports; if not, the end is.
        of_images: whether an outer step is of `batch_size` images of all classes, without episodes. Its head learns nothing, and
            features are centred at its end.
    """

    summary: str
    head: Callable[[TrainingConfig, int], Head] = gradient_head
    objective: Callable[[TrainingConfig, TrainingData], Objective] = Episodic
    inner_loop: Callable[[TrainingConfig, nn.Module], InnerLoop] | None = None
    options: frozenset[str] = frozenset({"head", "steps"})
    default_steps: int = 5
    require: Callable[[ImageDataset], None] | None = None
    keeps_best: bool = True
    of_images: bool = False
