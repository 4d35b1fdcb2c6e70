"""The scripts that meta-learn anything but images: what they compute is what they say, and they run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.meta import Adaptation
from edge_adapt.samples import navigation, sinusoid

GOAL = torch.tensor([0.3, -0.4])


def test_sinusoids_are_those_of_the_paper() -> None:
    tasks = sinusoid.Sinusoids(10, 20).draw(500, torch.Generator().manual_seed(0))
    for (x, y), points in ((tasks.support, 10), (tasks.query, 20)):
        assert x.shape == y.shape == (500, points, 1) and x.abs().max() <= 5
        # y = a sin(x - p) = sin(x) a cos(p) - cos(x) a sin(p), with p in 0..pi
        columns = torch.cat([x.sin(), -x.cos()], -1)
        found = torch.linalg.lstsq(columns, y).solution.squeeze(-1)
        amplitude = found.norm(dim=1)
        assert torch.allclose(columns @ found[..., None], y, atol=1e-4)
        assert 0.1 <= amplitude.min() < 0.2 and 4.9 < amplitude.max() <= 5.001
        assert found[:, 1].min() > -1e-3 and found[:, 0].min() < -4  # sin(p) is positive, cos(p) of either sign


def test_a_walk_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    walked = navigation.rollouts(navigation.Policy(), GOAL)
    assert walked.places.shape == walked.moves.shape == walked.reached.shape == (20, 100, 2)
    assert not walked.places[:, 0].any()
    moves = walked.reached - walked.places
    assert moves.abs().max() <= 0.1 + 1e-6 and torch.allclose(moves, walked.moves.clamp(-0.1, 0.1), atol=1e-5)
    assert torch.equal(walked.places[:, 1:], walked.reached[:, :-1])
    assert torch.allclose(walked.rewards, -(((walked.reached - GOAL) ** 2).sum(-1) ** 0.5))


def test_the_gradient_of_its_loss_is_reinforce_and_the_hessian_that_of_the_return() -> None:
    policy = navigation.Policy()

    def weighted(power: int) -> torch.Tensor:
        """The log-likelihood to a power, times the advantage, of the same rollouts."""
        torch.manual_seed(1)
        walked = navigation.rollouts(policy, GOAL)
        likelihood = policy(walked.places).log_prob(walked.moves).sum(-1)
        held = likelihood - likelihood.detach()
        mean: torch.Tensor = -(held**power / power * navigation.advantages(walked)).mean()
        return mean

    torch.manual_seed(1)
    (first,) = torch.autograd.grad(navigation.loss(policy, GOAL), policy.log_std, create_graph=True)
    (reinforce,) = torch.autograd.grad(weighted(1), policy.log_std, create_graph=True)
    torch.testing.assert_close(first, reinforce)
    # e^x = 1 + x + x^2 / 2: the likelihood's second derivative is that of its logarithm and the square of the gradient.
    (square,) = torch.autograd.grad(weighted(2), policy.log_std, create_graph=True)
    for index in range(2):
        ours, of_log, of_square = (
            torch.autograd.grad(gradient[index], policy.log_std, retain_graph=True)[0]
            for gradient in (first, reinforce, square)
        )
        torch.testing.assert_close(ours, of_log + of_square, rtol=1e-4, atol=1e-5)
        assert of_square.abs().max() > 1e-3


def test_advantages_are_what_the_baseline_leaves() -> None:
    torch.manual_seed(0)
    walked = navigation.rollouts(navigation.Policy(), GOAL)
    left = navigation.advantages(walked)
    assert left.shape == (20, 100)
    assert left.mean().abs() < 1e-4 and left.std() == pytest.approx(1, abs=1e-3)
    assert (left * walked.places[..., 0]).mean().abs() < 0.05  # nothing linear in place is left


@pytest.mark.parametrize("adaptation", sinusoid.METHODS.values(), ids=list(sinusoid.METHODS))
def test_every_method_of_the_sinusoid_takes_a_step(adaptation: Adaptation) -> None:
    learner = sinusoid.learned(adaptation, 1)
    assert learner.evaluate(sinusoid.Sinusoids(5, 5), 3, steps=2).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "rows"),
    [(sinusoid, ["--iterations", "2"], 4), (navigation, ["--iterations", "1", "--seeds", "1", "--goals", "2"], 3)],
    ids=["sinusoid", "navigation"],
)
def test_it_runs_and_draws(
    script: object,
    arguments: list[str],
    rows: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.png"
    monkeypatch.setattr(sys, "argv", ["script", "-o", str(picture), *arguments])
    script.main()  # type: ignore[attr-defined]
    assert len(capsys.readouterr().out.splitlines()) == 1 + rows
    assert picture.read_bytes().startswith(b"\x89PNG")
