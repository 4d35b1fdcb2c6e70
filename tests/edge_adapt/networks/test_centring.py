"""What centred features are: against NumPy, and by what the directions that are brought down should be."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_adapt.networks.backbones.layers import Part
from edge_adapt.networks.learner import NUISANCES, Centring

PARTS = (Part(60, 1.0), Part(36, 0.5))
CLASSES, IMAGES = 12, 40


def features() -> tuple[Tensor, Tensor]:
    """Features [480, 96] whose classes differ a little and whose images differ much in a few directions, and labels."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    classes = random.normal(size=(CLASSES, 96))
    light = random.normal(size=(len(labels), 3)) @ random.normal(size=(3, 96)) * 2
    values = classes[labels] + light + random.normal(size=(len(labels), 96))
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels)


def within(values: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The variances of images about the means of their classes along the principal directions, from the largest down."""
    differences = np.concatenate([values[labels == c] - values[labels == c].mean(0) for c in range(CLASSES)])
    spread: NDArray[np.float64] = np.linalg.svd(differences, compute_uv=False) ** 2 / len(values)
    return spread


def fitted() -> tuple[Centring, NDArray[np.float64], NDArray[np.int64]]:
    """A centring, and what it makes of the features before the directions: powered, centred, scaled and of length 1, by NumPy."""
    values, labels = features()
    centring = Centring(96)
    centring.fit(values, labels, PARTS)
    powered = np.sign(values.double().numpy()) * np.abs(values.double().numpy()) ** 0.8
    differences = powered - powered.mean(0)
    scaled = np.concatenate(
        [
            part.weight * block / np.sqrt((block**2).sum(1).mean())
            for part, block in zip(PARTS, np.split(differences, [60], axis=1), strict=True)
        ],
        axis=1,
    )
    return centring, scaled / np.linalg.norm(scaled, axis=1, keepdims=True), labels.numpy()


def test_without_directions_it_is_power_mean_scale_and_length() -> None:
    centring, expected, _ = fitted()
    with torch.no_grad():
        centring.nuisances.zero_()
        assert np.allclose(centring(features()[0]).numpy(), expected, atol=1e-5)


def test_the_directions_that_differ_most_within_classes_differ_as_the_next_one_does() -> None:
    centring, before, labels = fitted()
    nuisances = centring.nuisances.detach().double().numpy()
    spread, after = within(before, labels), within(before - before @ nuisances.T @ nuisances, labels)
    assert spread[0] > 3 * spread[NUISANCES]
    assert np.allclose(after[: NUISANCES + 1], spread[NUISANCES], rtol=1e-3)
    assert np.allclose(after[NUISANCES:], spread[NUISANCES:], rtol=1e-3)


def test_it_brings_features_of_a_class_nearer_to_each_other_than_to_others() -> None:
    centring, before, labels = fitted()
    with torch.no_grad():
        after = centring(features()[0]).numpy()
    same = labels[:, None] == labels

    def contrast(values: NDArray[np.float64]) -> float:
        cosines = values @ values.T
        return float(cosines[same].mean() - cosines[~same].mean())

    assert contrast(after) > 1.5 * contrast(before)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 100])
def test_features_that_say_nothing_stay_finite(size: int) -> None:
    centring = Centring(size)
    centring.fit(torch.ones(6, size), torch.tensor([0, 0, 1, 1, 2, 2]), [Part(size, 1.0)])
    values = torch.zeros(3, size, requires_grad=True)
    made = centring(values)
    made.sum().backward()
    assert bool(made.isfinite().all())
    assert values.grad is not None and bool(values.grad.isfinite().all())
