"""The inner loop on all layers: gradient steps on backbone and head, as a function of their parameters.

Finn et al., "Model-Agnostic Meta-Learning", ICML 2017, https://arxiv.org/abs/1703.03400. The methods that take it differ in which
rates they learn and in what the outer loop makes of the adapted weights: see `edge_adapt.methods`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from edge_adapt.export.heads.all_layers import HEAD, AllLayersParameters, all_layers_graphs
from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.meta.adaptation import Rates
from edge_adapt.networks.backbones.conv4 import Conv4
from edge_adapt.networks.backbones.layers import last_layers
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.head import HeadState, as_numpy, at_least_float32
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing

INITIAL_RATE = 0.01


class Reached(NamedTuple):
    """Where the inner loop has come to.

    Attributes:
        parameters: the adapted tensors, `backbone.*` and `head.*`.
        loss: the support loss before the step that led here; None at the start.
    """

    parameters: HeadState
    loss: Tensor | None


class InnerLoop(nn.Module):
    """Gradient steps on every layer, at learned rates.

    The head starts as `GradientHead` does, and each step takes the gradient of the same loss, cross-entropy averaged within each
    class and then over the classes. Its steps are plain ones: momentum and a safe length are for features that stay where they
    are. Their learned rates are in units of N over the mean squared norm of the support features, so that they mean the same for
    every backbone and every number of classes. With a prototype head the initialization of the head is a function of the
    backbone, and is differentiated through.

    Args:
        backbone: whose parameters are adapted; float [B, C, H, W] -> float [B, D], without batch statistics.
        rates: how many rates to learn of the backbone.
        steps: how many steps have rates of their own, with rates for each step; steps beyond reuse the last.
        first_order: take the inner gradients as constants.
        recompute: keep nothing of a step but its result, and compute it again in the backward pass: the memory of one step in
            place of all, for the time of one more forward pass. Needs `backward`, and is not for `torch.vmap`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        rates: Rates = "tensor",
        steps: int = 1,
        first_order: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self._kind, self.first_order, self.recompute = rates, first_order, recompute
        self.log_head_rates = nn.Parameter(torch.zeros(max(steps, 1)))
        self.log_bias_rate = nn.Parameter(torch.tensor(0.0))
        self.draws_numbers = False  # until it is seen to draw some: then its episodes keep their order
        # "." may not stand in a parameter's name.
        self.rates = nn.ParameterDict(
            {
                name.replace(".", "/"): self._initial(parameter, max(steps, 1))
                for name, parameter in backbone.named_parameters()
            }
        )

    def _initial(self, parameter: Tensor, steps: int) -> nn.Parameter:
        if self._kind == "element":
            return nn.Parameter(torch.full_like(parameter, INITIAL_RATE, requires_grad=True))
        shape = (steps,) if self._kind == "step" else ()
        return nn.Parameter(parameter.new_full(shape, math.log(INITIAL_RATE)))

    def at_once(self, device: torch.device) -> bool:
        """Whether the episodes of a micro-batch go through the loop all at once, under `torch.vmap`.

        With weights of its own per episode, vmap turns each convolution into a grouped one, which CPUs run slowly.
        """
        return device.type != "cpu" and not self.recompute

    def trajectory(
        self,
        backbone: nn.Module,
        head: GradientHead,
        support: Tensor,
        labels: Tensor,
        n_way: int,
        steps: int,
        under_vmap: bool = False,
    ) -> Iterator[Reached]:
        """The inner loop on one episode, from before its first step to after its last: `steps` + 1 states.

        Args:
            backbone: the module whose parameters it starts from.
            head: gives the initialization of the last layer.
            support: normalized images, float [S, M, C, H, W]; one step after the other takes one of the S, again and again.
            labels: of the images of a step, int64 [M] in 0..n_way-1.
            n_way: the number of classes N.
            steps: how many.
            under_vmap: this is one of several episodes under `torch.vmap`.
        """
        pull = _pull_under_vmap if under_vmap else self._pull
        slow = dict(backbone.named_parameters())
        features, pull_back = pull(backbone, slow, support[0])
        with torch.autocast(features.device.type, enabled=False):
            head_state = head.initialize(features, labels, n_way)
            targets = functional.one_hot(labels, n_way).to(features.dtype)  # [M, N]
            share = (targets / targets.sum(0).clamp(min=1)).sum(1, keepdim=True) / n_way  # [M, 1]
            unit = self._unit_of_head_rates(features, share, n_way)
            unit = unit.detach() if self.first_order else unit
        fast = {**_prefixed("backbone.", slow), **_prefixed("head.", head_state)}
        names = list(fast)
        yield Reached(fast, None)

        def step_from(
            features: Tensor, pull_back: _PullBack, here: HeadState, rates: Sequence[Tensor]
        ) -> Iterator[Tensor]:
            """The tensors of `names` after a step, then the loss. The gradient of softmax cross-entropy has a closed form."""
            with torch.autocast(features.device.type, enabled=False):
                weight = here["head.weight"]
                log_probabilities = torch.log_softmax(features @ weight.T + here["head.bias"], dim=1)
                error = share * (log_probabilities.exp() - targets)  # [M, N]
                of_head = {"head.weight": error.T @ features, "head.bias": error.sum(0)}
                gradients = {**_prefixed("backbone.", pull_back(error @ weight)), **of_head}
                if self.first_order:
                    gradients = {name: gradient.detach() for name, gradient in gradients.items()}
                yield from (here[name] - rate * gradients[name] for name, rate in zip(names, rates, strict=True))
                yield -(share * targets * log_probabilities).sum()

        def step_anew(images: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            """Images, the tensors of `names` and the rate of each, to what `step_from` gives."""
            here, rates = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
            return tuple(step_from(*pull(backbone, _without_prefix("backbone.", here), images), here, rates))

        for step, rates in enumerate(self._rates(slow, unit, steps)):
            images = support[step % len(support)]
            if self.recompute and torch.is_grad_enabled():
                *moved, loss = checkpoint(step_anew, images, *fast.values(), *rates, use_reentrant=True)
            elif step == 0:
                *moved, loss = step_from(features, pull_back, fast, rates)
            else:
                *moved, loss = step_anew(images, *fast.values(), *rates)
            fast = dict(zip(names, moved, strict=True))
            yield Reached(fast, loss)

    def _pull(self, backbone: nn.Module, parameters: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, _PullBack]:
        """Features [M, D], and a function from their gradient to that of the parameters."""
        differentiate = torch.is_grad_enabled() and not self.first_order
        with torch.enable_grad():
            inputs = {
                name: tensor if tensor.requires_grad else tensor.detach().requires_grad_()
                for name, tensor in parameters.items()
            }
            features = features_of(backbone, inputs, images)

        def pull_back(gradient: Tensor) -> HeadState:
            found = torch.autograd.grad(
                features,
                list(inputs.values()),
                gradient,
                retain_graph=True,
                create_graph=differentiate,
                materialize_grads=True,  # of what the backbone has and does not use
            )
            return dict(zip(inputs, found, strict=True))

        return features, pull_back

    def adapt(
        self, backbone: nn.Module, head: GradientHead, support: Tensor, labels: Tensor, n_way: int, steps: int
    ) -> tuple[HeadState, Tensor]:
        """The inner loop of an episode to its end.

        Args:
            backbone, head, n_way, steps: as of `trajectory`.
            support: normalized support images, float [M, C, H, W], which every step takes all of.
            labels: int64 [M] in 0..n_way-1.

        Returns:
            The adapted tensors, `backbone.*` and `head.*`, and the support loss before each step [steps].
        """
        states = list(self.trajectory(backbone, head, support[None], labels, n_way, steps))
        losses = [state.loss for state in states if state.loss is not None]
        return states[-1].parameters, torch.stack(losses) if losses else support.new_zeros(0)

    def _unit_of_head_rates(self, features: Tensor, share: Tensor, n_way: int) -> Tensor:
        """A scalar, for support features [M, D] and their shares [M, 1].

        Each class's row of weights sees N times less of the mean loss, and the logits that it gives move with the features'
        squared norm, to which the bias adds its own.
        """
        energy = features.square().sum(-1, keepdim=True) + self.log_bias_rate.exp()  # [M, 1]
        return n_way / (share * energy).sum()

    def _rates(self, names: Iterable[str], unit: Tensor, steps: int) -> Iterator[list[Tensor]]:
        """The learned inner learning rate of each tensor, the backbone's by their names and then the head's, step by step.

        Those of the head are in units of `unit`. What does not change from step to step is computed once.
        """
        learned = [self.rates[name.replace(".", "/")] for name in names]
        backbone = learned if self._kind == "element" else [rate.exp() for rate in learned]
        of_head, bias_rate = unit * self.log_head_rates.exp(), self.log_bias_rate.exp()
        for step in range(steps):
            own = [rate[min(step, len(rate) - 1)] for rate in backbone] if self._kind == "step" else backbone
            head_rate = of_head[min(step, len(of_head) - 1)]
            yield [*own, head_rate, head_rate * bias_rate]

    @torch.no_grad()
    def graphs(self, backbone: nn.Module, head: GradientHead, preprocessing: Preprocessing) -> HeadGraphs:
        """The loop as it is now as ONNX graphs, from normalized pixels [B, C H W] on; the names of tensors have "_" for ".".

        Args:
            backbone, head: as of `trajectory`.
            preprocessing: gives C, H and W.

        Raises:
            EdgeAdaptError: the backbone is no conv4: of others no gradient is written out.
        """
        if type(backbone) is not Conv4:
            raise EdgeAdaptError(
                f"only the gradient of conv4 is written out for a device, and not that of {type(backbone).__name__}; "
                "leave out all layers."
            )
        height, width = preprocessing.height, preprocessing.width
        slow, normalization = dict(backbone.named_parameters()), backbone.normalizations[0]
        assert isinstance(normalization, nn.GroupNorm)
        of_head = self.log_head_rates.exp()
        rates = [self.rates[name.replace(".", "/")] for name in slow]
        rates = [rate if self._kind == "element" else rate.exp() for rate in rates]
        rates = [rate if self._kind == "step" else rate[None] for rate in rates]
        names = [f"backbone.{name}".replace(".", "_") for name in slow]
        return all_layers_graphs(
            AllLayersParameters(
                image=(preprocessing.channels, height, width),
                backbone=dict(zip(names, map(as_numpy, slow.values()), strict=True)),
                rates=dict(
                    zip(
                        (*names, *HEAD),
                        map(as_numpy, (*rates, of_head, of_head * self.log_bias_rate.exp())),
                        strict=True,
                    )
                ),
                regions=as_numpy(backbone.regions_of(height, width)),
                groups=normalization.num_groups,
                epsilon=normalization.eps,
                scale=head.parameters_for_export().scale,
                bias_rate=self.log_bias_rate.exp().item(),
            )
        )


_PullBack = Callable[[Tensor], HeadState]


def _pull_under_vmap(backbone: nn.Module, parameters: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, _PullBack]:
    """As `InnerLoop._pull`, which is a third faster where there is no vmap."""
    features, pull_back, *_ = torch.func.vjp(lambda inputs: features_of(backbone, inputs, images), dict(parameters))
    return features, lambda gradient: pull_back(gradient)[0]


def predict(backbone: nn.Module, head: GradientHead, query: Tensor, parameters: HeadState) -> Tensor:
    """Normalized query images [Q, C, H, W] and adapted tensors, to logits [Q, N]."""
    features = features_of(backbone, _without_prefix("backbone.", parameters), query)
    with torch.autocast(features.device.type, enabled=False):
        return head.predict(features, _without_prefix("head.", parameters))


def features_of(backbone: nn.Module, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Features of a backbone with these parameters, float32 or more under autocast too, as `Embedding` gives them uncentred."""
    return last_layers(backbone, at_least_float32(functional_call(backbone, dict(parameters), (images,))))


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
