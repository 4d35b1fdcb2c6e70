"""What a model says of itself: the card that the exporter fills in, a bundle carries and a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_adapt.runtime.images.preprocessing import Preprocessing
    from edge_adapt.runtime.images.views import View

TASKS = ("classification", "regression")
PRECISIONS = ("fp32", "fp16", "int8")
"""Of the weights of `embed`: float32; stored as float16; int8, with activations in 8 bits as well. Version 1 knows fp32 alone."""


@dataclass(frozen=True)
class Accuracy:
    """A measured accuracy: `accuracy` and its 95% confidence interval `ci95` over episodes, as fractions."""

    data: str
    n_way: int
    n_shot: int
    n_query: int
    episodes: int
    accuracy: float
    ci95: float


@dataclass(frozen=True)
class Priors:
    """What meta-training says of classifiers to come, before any shot is left out; of K shots a class on average.

    Attributes:
        score, score_of_one_shot: images of the classes score `score + score_of_one_shot / K` on average: see
            `edge_adapt.runtime.classifier.rejection.Likeness`.
        score_spread: the standard deviation of their scores.
        temperature, temperature_of_one_shot: the temperature is `exp(temperature + temperature_of_one_shot / K)` over
            one less the mean cosine between classes.
    """

    score: float
    score_of_one_shot: float
    score_spread: float
    temperature: float
    temperature_of_one_shot: float


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model says of itself, whether it lies in a bundle or in the folder of a training run.

    Attributes:
        name: its own.
        task: "classification" or "regression".
        method: what trained it.
        preprocessing: how images are brought to the pixels that it takes.
        default_steps: of the inner loop, where nothing else is said.
        support_views: how support images are looked at beside as they are.
        max_ways, max_support: classes and support images that it takes at most; None: no limit of its own.
        precision: of its weights, one of PRECISIONS.
        trained_on: the data in words; empty where nobody said.
        license: of the weights, an SPDX expression or a sentence; empty where nobody said.
        accuracy: what was measured.
        priors: of what its classifiers know of themselves; None: they take every image for one of their classes.
    """

    name: str
    task: str = "classification"
    method: str
    preprocessing: Preprocessing
    default_steps: int
    support_views: tuple[View, ...] = ()
    max_ways: int | None = None
    max_support: int | None = None
    precision: str = "fp32"
    trained_on: str = ""
    license: str = ""
    accuracy: tuple[Accuracy, ...] = ()
    priors: Priors | None = None
