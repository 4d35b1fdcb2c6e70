"""Help and documents: every command has both, they agree, and asking for help loads nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import edge_adapt
from edge_adapt.cli import COMMANDS, EDITS
from edge_adapt.cli.grouped import GroupedCommand
from tests import command_line, command_reference

PROMISED = {
    *("demo", "check", "adapt", "classify", "info", "models"),
    *("add", "remove", "rename", "merge", "correct", "undo", "redo", "log", "strip", "pack", "unpack", "bake"),
    *("serve", "web", "pull", "bench", "doctor"),
    *("train", "compare", "evaluate", "report", "export", "wrap"),
}


def test_the_commands_are_those_that_were_promised() -> None:
    assert set(COMMANDS) == PROMISED
    listed = command_line.succeeded(command_line.edge_adapt("--help"))
    assert all(re.search(rf"^  {name} ", listed, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help_for_itself_and_its_options_and_an_example(name: str, option: str) -> None:
    shown = command_line.succeeded(command_line.edge_adapt(name, option))
    command = command_reference.command(name)
    grouped = isinstance(command, GroupedCommand)
    everything = command_line.succeeded(command_line.edge_adapt(name, "--help-all")) if grouped else shown
    assert command.help
    assert " ".join(command.help.split()[:5]) in " ".join(shown.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter
            assert parameter.opts[-1] in everything
    assert re.search(rf"Example:\n +edge-adapt {name}\b", shown)


def test_help_shows_common_options_in_groups_and_the_rest_where_it_is_asked_for() -> None:
    common, everything = (
        command_line.succeeded(command_line.edge_adapt("train", option)) for option in ("--help", "--help-all")
    )
    for shown in (common, everything):
        titles = [line for line in shown.splitlines() if re.fullmatch(r"\w+:", line)]
        assert titles == ["Run:", "Data:", "Episodes:", "Method:", "Optimization:", "Speed:", "Help:"]
    assert "--minutes" in common and "--help-all" in common and "--teacher-crops" not in common
    assert "--teacher-crops" in everything and len(everything.splitlines()) > 1.3 * len(common.splitlines())


def test_the_help_of_train_says_what_each_recipe_is_for_and_show_how_long_it_takes() -> None:
    pytest.importorskip("torch")
    shown = command_line.succeeded(command_line.edge_adapt("train", "--help"))
    listed = command_line.succeeded(command_line.edge_adapt("train", "--show")).splitlines()
    assert [line.partition(":")[0] for line in listed] == ["photos", "edge", "conv4"]
    for line in listed:
        assert line.partition(":")[0] in shown and re.search("minutes|hour", line)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_commands_that_exist_with_options_that_exist(name: str) -> None:
    for line in re.findall(r"edge-adapt .*", command_reference.command(name).epilog or ""):
        words = line.split(" > ")[0].split()
        arguments = [word for word in words[2:] if not word.startswith("> ")]
        command = command_reference.command(words[1])
        command.make_context(words[1], arguments)  # raises a UsageError


@pytest.mark.parametrize("name", ["adapt", "classify", "check", "evaluate", "report", "demo", "add", "correct"])
def test_every_command_that_embeds_takes_provider_and_threads_and_runs_strangers_apart(name: str) -> None:
    assert {"provider", "threads", "trust"} <= {parameter.name for parameter in command_reference.command(name).params}


@pytest.mark.parametrize("name", sorted({*EDITS} - {"log"}))
def test_every_edit_runs_strangers_apart(name: str) -> None:
    assert "trust" in {parameter.name for parameter in command_reference.command(name).params}


def test_the_document_says_what_the_commands_say() -> None:
    """If this fails: python -m tests.command_reference."""
    document = command_reference.DOCUMENT.read_text(encoding="utf-8")
    assert document.partition(command_reference.MARK)[2] == "\n" + command_reference.reference()


def test_version() -> None:
    assert command_line.succeeded(command_line.edge_adapt("--version")).split()[-1] == edge_adapt.__version__


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from edge_adapt.cli import main
try:
    main({arguments!r})
except SystemExit as exit:
    assert exit.code == 0, exit.code
heavy = {{"numpy", "onnxruntime", "torch", "onnx", "PIL", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_python_m_is_the_same_command(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "edge_adapt", "classify", "no.edge", "no.png"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "Error: no.edge does not exist; check its name.\n"


def test_choices_are_those_of_the_api() -> None:
    """They are written out in the command line, which may not import PyTorch to ask for them."""
    pytest.importorskip("torch")
    from typing import get_args

    from edge_adapt.methods import METHODS
    from edge_adapt.networks.backbones import BACKBONES
    from edge_adapt.networks.gradient_head import Initialization
    from edge_adapt.runtime.sessions import Provider
    from edge_adapt.training.compute import Device

    def choices(command: str, name: str) -> list[str]:
        option = next(p for p in command_reference.command(command).params if p.name == name)
        assert isinstance(option.type, click.Choice)
        return list(option.type.choices)

    assert choices("train", "method") == list(METHODS)
    assert choices("train", "initialization") == list(get_args(Initialization))
    assert choices("train", "backbone") == list(BACKBONES)
    assert choices("train", "device") == list(get_args(Device))
    assert choices("adapt", "provider") == list(get_args(Provider))


def test_a_slip_of_the_finger_is_told() -> None:
    mistyped = command_line.edge_adapt("train", "x", "--minuts", "3")
    assert mistyped.exit_code == 2 and "--minutes" in mistyped.stderr
    assert "no command 'clasify'; take classify." in command_line.complaint(
        command_line.edge_adapt("clasify", "x"), status=2
    )
    assert "no command 'fly'; take one of demo, check, adapt," in command_line.complaint(
        command_line.edge_adapt("fly"), status=2
    )


def test_defaults_are_those_of_the_api() -> None:
    """Help shows them, and the command hands over nothing but what is chosen."""
    pytest.importorskip("torch")
    from dataclasses import fields

    from edge_adapt.methods import METHODS, SETTINGS
    from edge_adapt.training.config import TrainingConfig

    parameters = {param.name: param for param in command_reference.command("train").params}
    own = {field.name: field.default for method in METHODS.values() for field in fields(method)}
    defaults = {field.name: field.default for field in fields(TrainingConfig)} | {
        "steps": None, **{name: value for name, value in own.items() if name != "steps"}, "method": "anil",
        "first_crop_size": None, "minutes": None,
    }  # fmt: skip
    assert {field.name for field in fields(TrainingConfig)} | SETTINGS <= parameters.keys() | {"first_crop_size"}
    for name, default in defaults.items():
        if default is None or isinstance(default, bool) or name == "first_crop_size":
            continue
        option = parameters[name]
        assert isinstance(option, click.Option)
        shown = option.show_default if isinstance(option.show_default, str) else str(option.default)
        assert float(shown) == default if isinstance(default, float) else shown == str(default), name
