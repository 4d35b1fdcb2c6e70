"""Several processes: they train what one does, only the first writes, and the end of one is the end of all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training import distributed
from edge_adapt.training.checkpoint import load_checkpoint
from edge_adapt.training.distributed import ENDED
from tests.command_line import edge_adapt, succeeded
from tests.gratings import write_images
from tests.several_processes import COMMAND, DATA, LOST_AT, train_in_float64

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available() or not hasattr(signal, "SIGKILL"),
    reason="needs Gloo, and SIGKILL",
)


def torchrun(*command: str | Path, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """Two processes of a module, started again where one ends before its time."""
    root = Path(__file__).parents[3]
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        f"--max-restarts={restarts}",
        "-m",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, *map(str, command)], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


class Launch:
    """What two processes did that torchrun started: their notes, what they said, and the folder of their runs."""

    def __init__(self, folder: Path) -> None:
        write_images(folder / "images", DATA)
        self.ended = torchrun("tests.several_processes", folder)
        self.folder = folder
        notes = [folder / f"{rank}.json" for rank in (0, 1)]
        assert all(path.exists() for path in notes), self.ended.stderr
        self.first, self.second = (json.loads(path.read_text()) for path in notes)


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    return Launch(tmp_path_factory.mktemp("launch"))


@pytest.mark.parametrize("method", ["anil", "pretrain", "distil"])
def test_two_processes_train_what_one_does(method: str, launch: Launch, tmp_path: Path) -> None:
    one, two = train_in_float64(tmp_path / "run", method), load_checkpoint(launch.folder / method)
    assert any(name.endswith("running_var") for name in one.learner)
    assert (one.best is None) == (two.best is None) == (method != "anil")
    for state, found in ((one.learner, two.learner), (one.exported.learner, two.exported.learner)):
        assert list(state) == list(found)
        for name, expected in state.items():
            assert (found[name] - expected).abs().max() <= 1e-8, name
    moved = one.learner["embedding.backbone.layers.1.running_mean"].abs().max()
    assert moved > 1e-3
    for ours, theirs in zip(one.records, two.records, strict=True):
        assert (ours.loss, ours.accuracy, ours.validation) == pytest.approx(
            (theirs.loss, theirs.accuracy, theirs.validation), abs=1e-8
        )
    assert list(one.optimizer["state"]) == list(two.optimizer["state"])  # nothing for what no gradient reaches


def test_both_processes_hold_the_same_weights_and_figures(launch: Launch) -> None:
    for what in ("anil", "pretrain", "distil", "validation"):
        assert launch.first[what] == launch.second[what]
    assert any(value is not None for value in launch.first["validation"])


def test_a_teacher_is_asked_by_the_first_process_alone(launch: Launch) -> None:
    tried = 2
    assert (launch.first["asked"], launch.second["asked"]) == (tried + len(DATA.images), tried)
    assert len(list(launch.folder.glob("teacher-*.npy"))) == 1


def test_only_the_first_process_writes(launch: Launch) -> None:
    assert set(launch.first["saved"]) == {
        "anil", "pretrain", "distil", "minutes", "nan", "halved", "1-pretrain", "2-episodes"
    }  # fmt: skip
    assert launch.second["saved"] == []


def test_a_budget_in_minutes_ends_at_the_same_step(launch: Launch) -> None:
    assert launch.first["minutes"] == launch.second["minutes"] >= 1


def test_a_loss_that_is_not_finite_in_one_process_stops_both(launch: Launch) -> None:
    assert launch.first["nan"] == launch.second["nan"]
    assert "the loss is nan at outer step 4" in launch.first["nan"]
    assert load_checkpoint(launch.folder / "nan").iteration == 3


def test_memory_that_does_not_suffice_one_process_halves_the_piece_of_both(launch: Launch) -> None:
    assert launch.first["halved"] == launch.second["halved"] == 2
    assert load_checkpoint(launch.folder / "halved").execution.micro_batch == 2
    line = "memory does not suffice for 4 episodes at once; going on with 2"
    assert launch.ended.stderr.splitlines().count(line) == 1


def test_what_the_first_process_refuses_all_refuse(launch: Launch) -> None:
    assert launch.first["again"] == launch.second["again"]
    assert "holds a run already" in launch.second["again"]
    assert launch.first["idle"] == launch.second["idle"]
    assert (
        "micro-batches of 8 do not give each of the 2 processes one of the 8 of an outer step" in launch.second["idle"]
    )


def test_a_recipe_goes_through_its_stages(launch: Launch) -> None:
    assert launch.first["recipe"] == launch.second["recipe"] == 2


def test_a_killed_process_ends_the_run_with_one_sentence_and_one_process_goes_on(
    launch: Launch, tmp_path: Path
) -> None:
    assert launch.ended.returncode != 0
    assert [line for line in launch.ended.stderr.splitlines() if line.startswith("Error")] == [f"Error: {ENDED}"]
    assert load_checkpoint(launch.folder / "killed").iteration == LOST_AT
    images = launch.folder / "images"
    succeeded(edge_adapt("train", "--resume", launch.folder / "killed"))
    succeeded(edge_adapt("train", images, "-o", tmp_path / "whole", *COMMAND))
    resumed, whole = load_checkpoint(launch.folder / "killed"), load_checkpoint(tmp_path / "whole")
    assert resumed.iteration == whole.iteration == 6
    for name, expected in whole.learner.items():
        torch.testing.assert_close(resumed.learner[name], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_torchrun_may_start_the_processes_again(launch: Launch, tmp_path: Path) -> None:
    ended = torchrun("tests.restarted_process", launch.folder / "images", tmp_path / "run", restarts=1)
    assert ended.returncode == 0, ended.stderr
    assert load_checkpoint(tmp_path / "run").iteration == 6
    assert f"{tmp_path / 'run'}: 6 outer steps" in ended.stdout


@pytest.mark.slow
def test_what_both_processes_refuse_is_said_once(launch: Launch) -> None:
    ended = torchrun("edge_adapt", "train", launch.folder / "images", "-o", launch.folder / "anil", *COMMAND)
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert said == [
        f"Error: {launch.folder / 'anil'} holds a run already; go on with it by `edge-adapt train --resume`, or write to "
        "another folder."
    ]
    assert not ended.stdout


def test_one_process_is_all_there_is_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # as other launchers set it
    tensor = torch.ones(3)
    with distributed.joined(), distributed.first_alone():
        assert (distributed.rank(), distributed.processes(), distributed.is_first()) == (0, 1, True)
        distributed.sum_over_processes([tensor])
        distributed.copy_from_first([tensor])
        assert distributed.of_first(lambda: 7) == 7
        assert distributed.place(torch.device("cuda")) == torch.device("cuda")
    assert tensor.tolist() == [1, 1, 1]


def launched(monkeypatch: pytest.MonkeyPatch, meet: Callable[..., object]) -> None:
    """As if torchrun had started this process and another one, which meet in this way."""
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    monkeypatch.setattr(sys.modules["torch.distributed.rendezvous"], "rendezvous", lambda *_, **__: [(store, 0, 2)])
    monkeypatch.setattr(torch.distributed, "init_process_group", meet)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_processes_that_do_not_find_each_other_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise torch.distributed.DistNetworkError("The client socket has timed out.\nand a lot more")

    launched(monkeypatch, unreachable)
    said = r"do not find each other \(The client socket has timed out\); start them again with torchrun\.$"
    with pytest.raises(EdgeAdaptError, match=said), distributed.joined():
        pass


@pytest.mark.parametrize(("nccl", "backend"), [(True, "cpu:gloo,cuda:nccl"), (False, "gloo")])
def test_gpus_without_nccl_share_over_gloo(nccl: bool, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def begin(backend: str, **_: object) -> None:
        asked.append(backend)
        raise RuntimeError("that is enough")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: nccl)
    launched(monkeypatch, begin)
    with pytest.raises(EdgeAdaptError, match="that is enough"), distributed.joined():
        pass
    assert asked == [backend]


def test_too_little_memory_is_no_end_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: 2)

    def scarce(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.distributed, "all_reduce", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        distributed.sum_over_processes([torch.ones(1)])


def test_more_processes_than_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "processes", lambda: 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.place(torch.device("cuda")) == torch.device("cuda", 1)
    assert chosen == [1]
    assert distributed.place(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(EdgeAdaptError, match=r"fewer GPUs \(2\) than processes"):
        distributed.place(torch.device("cuda"))
