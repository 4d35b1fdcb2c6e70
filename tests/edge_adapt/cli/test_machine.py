"""bench and doctor: what they print is what the functions of their names return, and a fault is a status."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from edge_adapt.runtime import bench as bench_module
from edge_adapt.runtime import doctor as doctor_module
from edge_adapt.runtime.bench import Benchmark, Latency
from edge_adapt.runtime.doctor import DeviceCheck, Diagnosis
from edge_adapt.runtime.model import load_model
from tests.child_functions import in_this_process
from tests.command_line import complaint, succeeded
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.tiny_model import photos


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short measurements, and none in a process of its own."""
    monkeypatch.setattr(bench_module, "in_child", in_this_process)
    monkeypatch.setattr(bench_module, "_SECONDS", 0.01)
    monkeypatch.setattr(bench_module, "_STARTS", 2)
    monkeypatch.setattr(bench_module, "cores", lambda: 3)


def test_bench_says_what_was_measured_and_of_what(tmp_path: Path) -> None:
    said = succeeded(command("bench", TINY, "--provider", "cpu"))
    for line in (
        rf"model        {re.escape(str(TINY))}, \d+ KB",
        r"machine      .+, \d+ cores, .+, Python 3\..+",
        r"runs on      CPUExecutionProvider of ONNX Runtime \d.+",
        r"support set  5 classes, 25 images, made up; 3 steps",
        r"cold start   [\d.]+ ms \(95%: [\d.]+ ms\), from the start of Python to the first answer",
        r" +1 thread +95% +2 threads +95% +3 threads +95%",
        *(rf"{what}( +[\d.]+ ms){{6}}" for what in ("embed, 1 image", "adapt, features given", "query, 1 image")),
    ):
        assert re.search(f"^{line}$", said, re.MULTILINE), (line, said)
    load_model(TINY, "cpu").adapt(photos({"a": 1, "b": 4, "c": 2})).save(tmp_path / "mine.edge")
    assert "support set  3 classes, 7 images, its own; 3 steps\n" in succeeded(command("bench", tmp_path / "mine.edge"))


def test_bench_in_json_has_every_field() -> None:
    value = json.loads(succeeded(command("bench", TINY, "--json")))
    assert list(value) == list(Benchmark.__dataclass_fields__)
    assert list(value["latencies"][0]) == list(value["cold_start"]) == list(Latency.__dataclass_fields__)
    assert value["synthetic"] is True


def test_bench_names_what_it_cannot_measure(tmp_path: Path) -> None:
    assert "none.edge does not exist" in complaint(command("bench", tmp_path / "none.edge"))


def test_memory_that_the_system_does_not_tell_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Latency("cold start", 1, 0.5, 0.6, 2)
    measured = Benchmark("a.edge", 9, "m", "1.0", "CPU", 2, 2, 0, False, start, None, (Latency("x", 1, 1e-4, 2, 3),))
    monkeypatch.setattr(bench_module, "bench", lambda *_, **__: measured)
    said = succeeded(command("bench", "a.edge"))
    assert "peak memory  not known on this system\n" in said
    assert json.loads(succeeded(command("bench", "a.edge", "--json"))) == json.loads(json.dumps(asdict(measured)))


@pytest.mark.parametrize(
    ("status", "code", "last"), [("fault", 1, "1 fault found."), ("skipped", 0, "No fault found.")]
)
def test_doctor_prints_a_line_a_check_and_a_fault_is_a_status(
    status: doctor_module.Status, code: int, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = (DeviceCheck("Python", "OK", "3.12"), DeviceCheck("cuda", status, "does not come up", "buy a GPU"))
    monkeypatch.setattr(doctor_module, "doctor", lambda _: Diagnosis(checks))
    result = command("doctor")
    assert result.exit_code == code
    assert result.stdout == f"OK       Python  3.12\n{status:<9}cuda    does not come up; buy a GPU\n{last}\n"


def test_doctor_checks_the_model_that_it_is_given(tmp_path: Path) -> None:
    result = command("doctor", tmp_path / "none.edge")
    assert result.exit_code == 1 and re.search(r"^fault +\S+none\.edge, cpu +\S+ does not exist", result.stdout, re.M)
