"""The neural Turing machine: its addressing is the paper's, and it learns to copy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch
from torch import Tensor

from benchmarks import copying
from edge_adapt.networks.ntm import Addressing, Controller, NeuralTuringMachine, address, read, written
from edge_adapt.runtime.errors import EdgeAdaptError

Array = NDArray[np.float64]
CONTROLLERS: tuple[Controller, ...] = ("lstm", "feed-forward")


def by_the_paper(memory: Array, before: Array, wanted: list[Array]) -> Array:
    """Equations 5 to 9 in plain loops, for one sequence: memory [S, W] and the weights before [S]."""
    key, strength, gate, shift, sharpness = wanted
    slots = len(memory)
    likeness = [key @ slot / (np.linalg.norm(key) * np.linalg.norm(slot)) for slot in memory]
    content = np.exp(strength * np.array(likeness))
    gated = gate * content / content.sum() + (1 - gate) * before
    shifted = np.zeros(slots)
    for i in range(slots):
        for j in range(slots):
            for by, share in zip((-1, 0, 1), shift, strict=True):
                if (i - j - by) % slots == 0:  # a shift of 1 takes what was at i - 1 to i
                    shifted[i] += gated[j] * share
    powers = shifted**sharpness
    return np.asarray(powers / powers.sum())


@given(st.integers(3, 8), st.integers(1, 5), st.integers(0, 1000))
def test_addressing_is_that_of_the_paper(slots: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    memory, before = random.standard_normal((2, slots, width)), random.dirichlet(np.ones(slots), 2)
    wanted = [
        random.standard_normal((2, width)),
        random.uniform(0, 20, (2, 1)),
        random.uniform(0, 1, (2, 1)),
        random.dirichlet(np.ones(3), 2),
        random.uniform(1, 8, (2, 1)),
    ]
    found = address(torch.from_numpy(memory), torch.from_numpy(before), Addressing(*map(torch.from_numpy, wanted)))
    for number in range(2):
        expected = by_the_paper(memory[number], before[number], [of[number] for of in wanted])
        np.testing.assert_allclose(found[number].numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("shift", "to"), [((1, 0, 0), 1), ((0, 1, 0), 2), ((0, 0, 1), 3)])
def test_a_shift_moves_a_head_by_a_slot(shift: tuple[int, ...], to: int) -> None:
    before = torch.eye(4)[2:3]
    one, nothing = torch.ones(1, 1), torch.zeros(1, 1)
    weights = address(
        torch.randn(1, 4, 3), before, Addressing(torch.randn(1, 3), one, nothing, torch.tensor([shift]).float(), one)
    )
    torch.testing.assert_close(weights, torch.eye(4)[to : to + 1])


def test_a_write_erases_before_it_adds_and_a_read_is_the_weighted_sum() -> None:
    random = np.random.default_rng(0)
    memory, weights = random.standard_normal((2, 5, 3)), random.dirichlet(np.ones(5), 2)
    erase, add = random.uniform(0, 1, (2, 3)), random.standard_normal((2, 3))
    tensors = [torch.from_numpy(of) for of in (memory, weights, erase, add)]
    expected = np.zeros_like(memory)
    for b, i, j in np.ndindex(*memory.shape):
        expected[b, i, j] = memory[b, i, j] * (1 - weights[b, i] * erase[b, j]) + weights[b, i] * add[b, j]
    np.testing.assert_allclose(written(*tensors).numpy(), expected)
    sums = [sum(weights[b, i] * memory[b, i] for i in range(5)) for b in range(2)]
    np.testing.assert_allclose(read(*tensors[:2]).numpy(), sums)
    whole = torch.eye(5)[:1].double()
    replaced = written(tensors[0][:1], whole, torch.ones(1, 3).double(), tensors[3][:1])
    torch.testing.assert_close(replaced[0, 0], tensors[3][0])
    torch.testing.assert_close(replaced[0, 1:], tensors[0][0, 1:])


def small(controller: Controller) -> NeuralTuringMachine:
    torch.manual_seed(0)
    return NeuralTuringMachine(3, 2, controller, hidden=4, slots=4, width=3).double()


def test_a_step_reads_what_the_one_before_left_and_then_writes() -> None:
    """The whole machine with the feed-forward controller, in NumPy, one sequence."""
    machine = small("feed-forward")
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(torch.randn_like(parameter))
    own = {name: parameter.detach().numpy() for name, parameter in machine.named_parameters()}

    def layer(name: str, x: Array) -> Array:
        return np.asarray(own[f"{name}.weight"] @ x + own[f"{name}.bias"])

    def positive(x: Array) -> Array:
        return np.log1p(np.exp(x))

    def at(raw: Array, memory: Array, before: Array) -> Array:
        shift = np.exp(raw[5:8]) / np.exp(raw[5:8]).sum()
        gate = 1 / (1 + np.exp(-raw[4]))
        return by_the_paper(memory, before, [raw[:3], positive(raw[3]), gate, shift, 1 + positive(raw[8])])

    seen = np.random.default_rng(2).standard_normal((4, 3))
    memory, found = np.full((4, 3), 1e-6), own["first_read"]
    reading, writing = np.exp(own["first_places"]) / np.exp(own["first_places"]).sum(1, keepdims=True)
    expected = []
    for step in seen:
        hidden = np.tanh(layer("layer", np.concatenate([step, found])))
        reading = at(layer("reading_head", hidden), memory, reading)
        found = reading @ memory
        raw = layer("writing_head", hidden)
        writing = at(raw, memory, writing)
        erase = 1 / (1 + np.exp(-raw[9:12]))
        memory = memory * (1 - np.outer(writing, erase)) + np.outer(writing, raw[12:])
        expected.append(layer("output", np.concatenate([hidden, found])))
    outputs = machine(torch.from_numpy(seen)[:, None])[:, 0].detach().numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_the_gradient_is_that_of_finite_differences(controller: Controller) -> None:
    machine = small(controller)
    generator = torch.Generator().manual_seed(1)
    seen = torch.randn(4, 2, 3, dtype=torch.float64, generator=generator)
    wanted = torch.randn(4, 2, 2, dtype=torch.float64, generator=generator)

    def loss() -> Tensor:
        error: Tensor = (machine(seen) - wanted).square().mean()
        return error

    loss().backward()  # type: ignore[no-untyped-call]
    for name, parameter in machine.named_parameters():
        assert parameter.grad is not None, name
        flat = parameter.data.view(-1)
        for position in range(0, len(flat), max(1, len(flat) // 5)):
            values = []
            for step in (1e-5, -2e-5):
                flat[position] += step
                values.append(loss().item())
            flat[position] += 1e-5
            numeric = (values[0] - values[1]) / 2e-5
            assert parameter.grad.view(-1)[position].item() == pytest.approx(numeric, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_an_output_knows_the_past_of_its_own_sequence_alone(controller: Controller) -> None:
    machine, seen = small(controller), torch.randn(5, 3, 3, dtype=torch.float64)
    outputs = machine(seen)
    changed = seen.clone()
    changed[2, 1] += 1
    after = machine(changed)
    assert torch.equal(after[:2], outputs[:2])
    assert torch.equal(after[:, [0, 2]], outputs[:, [0, 2]])
    assert all(not torch.equal(after[step, 1], outputs[step, 1]) for step in (2, 3, 4))
    torch.testing.assert_close(machine(seen[:, 1:2]), outputs[:, 1:2])


def test_without_a_controller_of_memory_its_own_what_was_seen_is_read_from_the_memory() -> None:
    """The feed-forward controller keeps nothing: with a head that never writes, an output is that of its own step."""
    machine, seen = small("feed-forward"), torch.randn(4, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        machine.writing_head.weight[-6:] = 0  # neither erases much nor adds
        machine.writing_head.bias[-6:-3] = -1e9
        machine.writing_head.bias[-3:] = 0
    outputs = machine(seen)
    changed = seen.clone()
    changed[:3] += 1
    torch.testing.assert_close(machine(changed)[3], outputs[3], rtol=1e-4, atol=1e-5)


def test_a_controller_that_is_none_is_refused() -> None:
    with pytest.raises(EdgeAdaptError, match=r"^controller is 'gru'; choose one of lstm, feed-forward\.$"):
        NeuralTuringMachine(3, 2, "gru")  # type: ignore[arg-type]


def test_a_copy_is_asked_for_after_the_delimiter_and_nothing_is_shown_then() -> None:
    bits, seen = copying.sequences(3, 2, torch.Generator().manual_seed(0))
    assert bits.shape == (3, 2, 8) and seen.shape == (7, 2, 9)
    assert torch.equal(seen[:3, :, :8], bits) and not seen[:3, :, 8].any()
    assert torch.equal(seen[3].sum(1), torch.ones(2)) and seen[3, :, 8].all() and not seen[4:].any()

    def perfect(seen: Tensor) -> Tensor:
        length = len(seen) // 2
        return torch.cat([torch.zeros(length + 1, seen.shape[1], 8), 2 * seen[:length, :, :8] - 1])

    assert copying.bits_wrong(perfect, 5, 2) == 0
    assert copying.bits_wrong(lambda seen: perfect(seen).roll(1, 0), 5, 50) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_it_learns_to_copy(controller: Controller) -> None:
    machine = copying.trained(controller, copying.ITERATIONS)
    for length in range(1, copying.LONGEST + 1):
        assert copying.bits_wrong(machine, length) < 0.01, length
