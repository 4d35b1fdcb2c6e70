"""The model-agnostic core: MAML and its relatives for any module, any loss and any tasks.

    from edge_adapt.meta import Adaptation, Learner, OuterLoop, meta_train

    learner = meta_train(Learner(module, loss, Adaptation(steps=5, rate=0.01)), tasks, OuterLoop(iterations=1000))
    adapted = learner.adapt(support)

It needs PyTorch alone, and knows nothing of images.
"""

from __future__ import annotations

from edge_adapt.meta.adaptation import Adaptation
from edge_adapt.meta.learner import Learner
from edge_adapt.meta.outer_loop import OuterLoop, meta_train
from edge_adapt.meta.tasks import TaskDistribution, Tasks

__all__ = ["Adaptation", "Learner", "OuterLoop", "TaskDistribution", "Tasks", "meta_train"]
