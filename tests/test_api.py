"""What the documents say of the public names is what there is."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import edge_adapt
from edge_adapt.cli import COMMANDS
from edge_adapt.runtime import errors
from tests import api_reference, readme_example
from tests.encoded_images import encode, random_pixels

pytest.importorskip("torch")

import edge_adapt.meta


def test_every_public_name_is_documented_once() -> None:
    documented = [name for names in api_reference.GROUPS.values() for name in names]
    assert sorted([*documented, "__version__"]) == sorted(edge_adapt.__all__)
    assert sorted(api_reference.META) == sorted(edge_adapt.meta.__all__)


def test_every_command_has_a_function() -> None:
    assert sorted([*api_reference.COMMANDS, "demo", "serve", "web"]) == sorted(COMMANDS)
    for name in api_reference.COMMANDS.values():
        value: object = edge_adapt
        for part in name.split("."):
            value = getattr(value, part)


def test_every_error_is_public() -> None:
    raised = [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)]
    assert set(raised) <= set(edge_adapt.__all__)


def test_the_reference_is_that_of_the_docstrings() -> None:
    assert api_reference.DOCUMENT.read_text(encoding="utf-8") == api_reference.reference(), (
        "python -m tests.api_reference"
    )
    for names in api_reference.GROUPS.values():
        for name in names:
            assert inspect.getdoc(getattr(edge_adapt, name)), name
    for name in api_reference.META:
        assert inspect.getdoc(getattr(edge_adapt.meta, name)), name


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    for index, name in enumerate(("a", "b", "c", "d", "photo")):
        (tmp_path / f"{name}.jpg").write_bytes(encode(Image.fromarray(random_pixels((240, 240, 3), index)), "JPEG"))
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{readme_example.example()}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert edge_adapt.load_classifier(tmp_path / "mine.edge").labels == ("cat", "dog", "fox")
