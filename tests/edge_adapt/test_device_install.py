"""A device has neither PyTorch nor onnx: nothing there may so much as try to import them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_adapt.runtime.model import load_model
from tests.command_line import COLOURS, write_photos
from tests.conftest import TINY

REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ERROR(f"{name} is imported")
        return None

sys.meta_path.insert(0, Refuse())
"""

DEVICE = """
import io
from contextlib import redirect_stdout
from pathlib import Path

import edge_adapt
from edge_adapt.cli import main

def command(*arguments):
    said = io.StringIO()
    with redirect_stdout(said):
        try:
            main(list(map(str, arguments)))
        except SystemExit as exit:
            assert exit.code == 0, (arguments, exit.code)
    return said.getvalue()

photos, tiny = Path("photos"), sys.argv[1]
model = edge_adapt.load(tiny)
mine = model.adapt({label.name: list(label.iterdir()) for label in photos.iterdir()}, steps=10)
assert mine.classify("photos/red/0.png").label == "red"
mine.save("mine.edge")
assert edge_adapt.load("mine.edge").classify("photos/green/0.png").label == "green"
command("adapt", photos, "-o", "too.edge", "--model", tiny)
assert "red" in command("classify", "too.edge", photos)
assert "100.00%" in command("evaluate", "too.edge", photos)
command("evaluate", tiny, photos, "--way", 2, "--query", 1, "--episodes", 2)
assert "passed" in command("info", "too.edge")
assert "No fault found" in command("doctor", "too.edge")
command("models")
assert not REFUSED & set(sys.modules)
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(TINY)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", dict.fromkeys(COLOURS, 2))
    return tmp_path


def test_adapting_and_classifying_import_no_training_package(folder: Path) -> None:
    refused = 'REFUSED, ERROR = {"torch", "onnx", "onnxscript", "matplotlib", "jinja2", "starlette", "uvicorn"}, AssertionError\n'
    result = run(folder, refused + REFUSE + DEVICE)
    assert result.returncode == 0, result.stderr


MISSING = """
from edge_adapt.cli import main
main(ARGUMENTS)
"""


@pytest.mark.parametrize(
    ("missing", "arguments", "install"),
    [
        ("onnxruntime", ["adapt", "photos", "-o", "x.edge", "--model", str(TINY)], "edge-adapt[cpu]"),
        ("onnxruntime", ["check", "photos", "--model", str(TINY)], "edge-adapt[cpu]"),
        ("torch", ["evaluate", "run", "photos"], "edge-adapt[train]"),
        ("jinja2", ["report", str(TINY), "photos", "-o", "x.edge"], "edge-adapt[report]"),
        ("matplotlib", ["report", str(TINY), "photos", "-o", "x.edge"], "edge-adapt[report]"),
        ("starlette", ["serve", str(TINY)], "edge-adapt[serve]"),
        ("python_multipart", ["serve", str(TINY)], "edge-adapt[serve]"),
        ("paho", ["serve", str(TINY), "--mqtt", "localhost"], "edge-adapt[mqtt]"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_brings_it(
    folder: Path, missing: str, arguments: list[str], install: str
) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "checkpoint.pt").touch()
    refused = f"REFUSED, ERROR = {{{missing!r}}}, lambda text: ModuleNotFoundError(text, name={missing!r})\n"
    result = run(folder, refused + REFUSE + MISSING.replace("ARGUMENTS", repr(arguments)))
    assert result.returncode == 1, result.stderr
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert install in sentence
    assert "Traceback" not in result.stderr
    assert not (folder / "x.edge").exists()


def test_the_api_says_so_too(folder: Path) -> None:
    refused = 'REFUSED, ERROR = {"torch"}, lambda text: ModuleNotFoundError(text, name="torch")\n'
    code = """
import edge_adapt
for name in ("train", "TrainingConfig", "export_bundle"):
    try:
        getattr(edge_adapt, name)
    except edge_adapt.EdgeAdaptError as error:
        assert "edge-adapt[train]" in str(error)
    else:
        raise AssertionError(name)
"""
    result = run(folder, refused + REFUSE + code)
    assert result.returncode == 0, result.stderr


def test_the_wheel_has_every_package() -> None:
    root = Path(__file__).parents[2]
    (listed,) = re.findall(
        r"^packages = \[(.*?)^\]", (root / "pyproject.toml").read_text(encoding="utf-8"), re.M | re.S
    )
    found = {
        ".".join((name, *init.parent.relative_to(root / folder).parts))
        for name, folder in (
            ("edge_adapt", "edge_adapt"),
            ("edge_adapt.runtime", "runtime"),
            ("edge_adapt.export", "export"),
        )
        for init in (root / folder).rglob("__init__.py")
        if "samples" not in init.parts and not {"runtime", "export"} & set(init.relative_to(root).parts[1:2])
    }
    packages = set(re.findall(r'"([^"]+)"', listed))
    assert found == packages - {"edge_adapt.samples"}  # of the samples only the images that `demo` shows


ANSWER = """
import sys

import numpy, onnxruntime, PIL.Image

there = set(sys.modules)
from edge_adapt.runtime.model import load_classifier

load_classifier("mine.edge").classify("photos/red/0.png")
print(*sorted({"csv", "numpy.ma", "numpy.random", "tqdm"} & (set(sys.modules) - there)))
"""


def test_what_only_learning_needs_is_not_imported_to_classify(tmp_path: Path) -> None:
    """`numpy.random` alone takes a fifth of the time in which a device starts."""
    write_photos(tmp_path / "photos", {"red": 2, "green": 2})
    load_model(TINY, "cpu").adapt(
        {folder.name: sorted(folder.iterdir()) for folder in (tmp_path / "photos").iterdir()}
    ).save(tmp_path / "mine.edge")
    done = subprocess.run([sys.executable, "-c", ANSWER], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
