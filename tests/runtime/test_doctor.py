"""What the doctor finds: nothing on a machine that works, and each fault with what to do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import edge_adapt
from edge_adapt.runtime import doctor as module
from edge_adapt.runtime.bundle.bundle import Bundle, Golden, write_bundle
from edge_adapt.runtime.doctor import DeviceCheck, doctor
from edge_adapt.runtime.model import models
from edge_adapt.runtime.sessions import available
from tests.child_functions import in_this_process
from tests.conftest import TINY


def found(what: str) -> DeviceCheck:
    """What the doctor says of one thing; what comes after it is not looked at."""
    return next(check for check in module._checks(str(TINY)) if check.what == what)


def test_a_machine_that_works_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "in_child", in_this_process)
    diagnosis = edge_adapt.doctor()
    assert [check for check in diagnosis.faults if check.what.endswith((", cpu", ", samples"))] == []
    assert {check.what for check in diagnosis.checks if check.status == "OK"} >= {
        *("Python", "wheels", "ONNX Runtime"),
        *(f"{name}, {part}" for name in models() for part in ("cpu", "samples")),
    }


def test_a_model_is_checked_with_every_provider_and_samples_are_known_of_bundled_ones() -> None:
    checks = {check.what: check for check in doctor(TINY).checks}
    assert checks[f"{TINY}, cpu"].text.startswith("golden vectors hold, off by ")
    assert {what.rpartition(", ")[2] for what in checks} >= set(available())
    assert checks[f"{TINY}, samples"].status == "skipped"
    named = {check.what for check in doctor("characters").checks}
    assert {"characters, cpu", "characters, samples"} <= named and not any("photos" in what for what in named)


def test_32_bits_have_no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sys", SimpleNamespace(maxsize=2**31 - 1))
    check = found("Python")
    assert check.status == "fault" and "32 bits" in check.text
    assert "no wheels" in check.remedy and "64-bit" in check.remedy


def with_versions(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Have distributions installed in these versions, or not at all; `_` stands for `-`."""
    real = metadata.version

    def version(name: str) -> str:
        value = versions.get(name.replace("-", "_"), "")
        if value is None:
            raise metadata.PackageNotFoundError(name)
        return value or real(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(
        metadata, "requires", lambda _: ["numpy>=1.23", "pillow>=9.1", 'onnxruntime>=1.16; extra == "cpu"', "x[y]"]
    )


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("numpy", "1.9.3", 'numpy 1.9.3, and edge-adapt needs 1.23 or newer; `pip install --upgrade "numpy>=1.23"`'),
        ("pillow", None, "pillow is not installed, and edge-adapt needs 9.1"),
        ("onnxruntime", "1.15.1", "onnxruntime 1.15.1, and edge-adapt needs 1.16"),
    ],
)
def test_packages_that_are_old_or_missing_are_named(
    name: str, version: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_versions(monkeypatch, edge_adapt="0.1.0", **{name: version})
    check = found("packages")
    assert check.status == "fault" and f"{check.text}; {check.remedy}".startswith(said)


def test_two_builds_of_onnx_runtime_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with_versions(monkeypatch, edge_adapt="0.1.0", onnxruntime="1.20.0", onnxruntime_gpu="1.20.0")
    check = found("wheels")
    assert check.status == "fault" and check.text.startswith("onnxruntime and onnxruntime-gpu are installed together")
    assert check.remedy.startswith("`pip uninstall onnxruntime onnxruntime-gpu`")


def fake(name: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the processes of the doctor import another module of this name."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_an_onnx_runtime_that_kills_python_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("onnxruntime", "import os, signal; os.kill(os.getpid(), signal.SIGILL)", tmp_path, monkeypatch)
    last = doctor(TINY).checks[-1]
    assert (last.what, last.status) == ("ONNX Runtime", "fault")
    assert "is killed by SIGILL (Illegal instruction)" in last.text and "\n" not in last.text
    assert "Raspberry Pi 4" in last.remedy and '"onnxruntime!=1.21.0"' in last.remedy


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize(("name", "remedy"), [("SIGILL", "Raspberry Pi 4"), ("SIGSEGV", "install another version")])
def test_an_onnx_runtime_that_kills_python_while_it_runs_is_survived(
    name: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""
import os, signal
__version__ = "1.21.0"
def get_available_providers():
    return ["CPUExecutionProvider"]
class SessionOptions:
    def __init__(self):
        os.kill(os.getpid(), signal.{name})
"""
    fake("onnxruntime", code, tmp_path, monkeypatch)
    checks = {check.what: check for check in doctor("characters").checks}
    assert checks["ONNX Runtime"].status == "OK"
    for what in ("characters, cpu", "characters, samples"):
        assert checks[what].status == "fault" and f"is killed by {name}" in checks[what].text
        assert remedy in checks[what].remedy


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise ImportError('libc.so.6: version GLIBC_2.99 not found')",
            "does not load (libc.so.6: version GLIBC_2.99",
        ),
        ("raise ModuleNotFoundError('gone', name='onnxruntime')", 'is not installed; `pip install "edge-adapt[cpu]"`'),
    ],
)
def test_an_onnx_runtime_that_does_not_load_is_told(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("onnxruntime", code, tmp_path, monkeypatch)
    last = doctor(TINY).checks[-1]
    assert (last.what, last.status) == ("ONNX Runtime", "fault") and said in last.text


def test_a_package_that_does_not_load_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_versions(monkeypatch, edge_adapt="0.1.0")
    fake("numpy", "raise ImportError('libopenblas.so.0: no such file')", tmp_path, monkeypatch)
    check = found("packages")
    assert check.status == "fault" and "libopenblas.so.0: no such file" in check.text
    assert check.remedy == "`pip install --force-reinstall numpy pillow`"


def rewritten(change: Callable[[Bundle], Golden | None], path: Path) -> Path:
    """tiny.edge with other golden vectors."""
    bundle = Bundle.open(TINY)
    graphs = {name: bundle.graph(name) for name in ("embed.onnx", "adapt.onnx", "predict.onnx")}
    write_bundle(path, replace(bundle.manifest, golden=change(bundle)), graphs)
    return path


def test_golden_vectors_that_do_not_hold_are_a_fault_and_none_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "in_child", in_this_process)

    def off(bundle: Bundle) -> Golden:
        assert bundle.manifest.golden
        return replace(bundle.manifest.golden, features=bundle.manifest.golden.features + 1)

    for path, status, said in (
        (rewritten(off, tmp_path / "off.edge"), "fault", "does not compute here what it should"),
        (rewritten(lambda _: None, tmp_path / "none.edge"), "skipped", "the bundle has no golden vectors"),
        (tmp_path / "absent.edge", "fault", "does not exist"),
    ):
        (check,) = [check for check in doctor(path).checks if check.what == f"{path}, cpu"]
        assert check.status == status and said in check.text


def test_labels_that_are_wrong_are_a_fault_and_samples_that_are_absent_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_samples() -> DeviceCheck:
        return doctor("characters").checks[-1]

    one, other = "anku", "belo"
    for part, labels in (("support", (one, other)), ("query", (other, one))):
        for source, label in zip((one, other), labels, strict=True):
            shutil.copytree(module.SAMPLES / "characters" / part / source, tmp_path / "characters" / part / label)
    monkeypatch.setattr(module, "in_child", in_this_process)
    monkeypatch.setattr(module, "SAMPLES", tmp_path)
    check = of_samples()
    assert check.status == "fault" and check.text.endswith(" of 20 labels right") and "pillow" in check.remedy
    monkeypatch.setattr(module, "SAMPLES", tmp_path / "nowhere")
    assert of_samples() == DeviceCheck("characters, samples", "skipped", "the samples are not installed")


def test_the_process_that_asks_imports_nothing_that_could_kill_it() -> None:
    code = f"""
import sys
from edge_adapt.runtime.doctor import doctor
assert doctor({str(TINY)!r}).checks[3].status == "OK"
loaded = {{"numpy", "PIL", "onnxruntime"}} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
