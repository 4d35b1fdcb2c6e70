"""Runs of another edge-adapt, or of other settings: named, and older ones are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")


from edge_adapt.methods.reptile import INNER_RATE
from edge_adapt.training.checkpoint import Checkpoint, read_payload, write_payload
from edge_adapt.training.run import load_learner
from tests.training_runs import Configure, Small, assert_same_weights, refusal


def _altered(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    payload = read_payload(run / "checkpoint.pt")
    change(payload)
    with (run / "checkpoint.pt").open("wb") as stream:
        write_payload(stream, payload)


def _rename_a_weight(payload: dict[str, Any]) -> None:
    for state in (payload["learner"], payload["best"]["learner"]):
        state["head.rate"] = state.pop("head.log_pull")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda payload: payload["config"].update(method={"name": "hypernetwork"}), "method is 'hypernetwork'"),
        (lambda payload: payload["config"].update(colour="red"), "unexpected keyword argument 'colour'"),
        (lambda payload: payload.update(momenta={}), "unexpected keyword argument 'momenta'"),
        (lambda payload: payload.pop("optimizer"), "missing 1 required positional argument: 'optimizer'"),
        (_rename_a_weight, "are not those that anil with conv4 has in this edge-adapt"),
    ],
)
def test_a_run_of_another_edge_adapt_is_named(
    change: Callable[[dict[str, Any]], object],
    expected: str,
    validated: Callable[..., Checkpoint],
    tiny_config: Configure,
    tmp_path: Path,
) -> None:
    config = tiny_config(iterations=1)
    validated(config, backbone=None)
    _altered(tmp_path / "run", change)
    for action in (lambda: load_learner(tmp_path / "run"), lambda: validated(config, resume=True, backbone=None)):
        message = refusal(action)
        assert expected in message and str(tmp_path / "run") in message
        assert "use the edge-adapt that wrote it" in message


def test_a_checkpoint_without_a_best_state_exports_its_end(
    validated: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    def older(payload: dict[str, Any]) -> None:
        del payload["best"], payload["validated_on"], payload["provenance"], payload["config"]["patience"]

    end = validated(tiny_config(iterations=3))
    _altered(tmp_path / "run", older)
    learner, checkpoint = load_learner(tmp_path / "run", Small())
    assert_same_weights(learner.state_dict(), end.learner)
    assert checkpoint.exported.iteration == 3


@pytest.mark.parametrize(
    ("before", "method"),
    [("pretrain", "maml"), pytest.param("fomaml", "anil", marks=pytest.mark.slow), ("maml", "head-only")],
)
def test_all_layers_and_the_last_do_not_start_from_each_other(
    before: str, method: str, brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    first = brief(tiny_config(method=before, iterations=1, steps=None, batch_size=8), "first", micro_batch=None)
    said = refusal(lambda: brief(tiny_config(method=method, iterations=1), weights=first))
    assert said.startswith(f"{method} cannot start from a run of {before}: ") and "adapts all layers" in said


def test_reptile_keeps_its_own_rates(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    first = brief(tiny_config(method="maml", iterations=1), "first")
    start = brief(tiny_config(method="reptile", iterations=1, learning_rate=1e-9), weights=first)
    rates = {name: rate for name, rate in start.learner.items() if name.startswith("inner_loop.rates.")}
    assert rates and all(rate.exp().item() == pytest.approx(INNER_RATE) for rate in rates.values())
