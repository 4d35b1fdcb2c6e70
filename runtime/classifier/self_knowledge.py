"""What a classifier finds out about itself when it is adapted, from its support set alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_adapt.runtime.bundle.classifier_json import SelfKnowledge
from edge_adapt.runtime.classifier.calibration import temperature
from edge_adapt.runtime.classifier.rejection import Likeness, known_scores, own_logit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge_adapt.runtime.bundle.card import Priors
    from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut


def self_knowledge(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    others: NDArray[np.float32],
    logits: NDArray[np.float32],
    left_out: LeaveOneOut,
    priors: Priors,
) -> SelfKnowledge:
    """Temperature, and the scores of images of its classes.

    Args:
        features, labels, others: the support set: shots [M, D] and [M], and photos of no class [Q, D].
        logits: what the classifier says of its own shots, float32 [M, N].
        left_out: what it says of them when they are left out.
        priors: of the model.
    """
    likeness = Likeness.of(features, labels, own_logit(logits, labels), others)
    scores, strangeness = likeness.left_out_scores(features, labels, left_out), likeness.strangeness(features)
    mean, spread = known_scores(scores, likeness.n_shot, priors, float(strangeness.mean()))
    return SelfKnowledge(
        temperature(left_out, likeness.n_shot, likeness.between, priors), mean, spread, likeness.own_logit
    )
