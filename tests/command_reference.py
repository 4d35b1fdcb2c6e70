"""Writes the part of docs/command-line.md that follows from the commands themselves.

python -m tests.command_reference
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import click

from edge_adapt.cli import COMMANDS, main

DOCUMENT = Path(__file__).parents[1] / "docs" / "command-line.md"
MARK = "<!-- What follows is written by `python -m tests.command_reference`. -->\n"


def command(name: str) -> click.Command:
    """A command of `edge-adapt` by its name."""
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def reference() -> str:
    """Every command in Markdown: usage, help, options and example, laid out the same with every version of click."""
    return "\n".join(_section(name) for name in COMMANDS)


def _section(name: str) -> str:
    this = command(name)
    arguments = [p.metavar or str(p.name).upper() for p in this.params if isinstance(p, click.Argument)]
    options = [p for p in this.params if isinstance(p, click.Option)]
    usage = " ".join(["edge-adapt", name, *arguments, *(["[OPTIONS]"] if options else [])])
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(this.help or "").split("\n\n")]
    groups = [(f"**{group.title}**", [*group.common, *group.rest]) for group in getattr(this, "groups", ())]
    others = [option for option in options if not any(option in group for _, group in groups)]
    table = [line for title, group in [*groups, ("", others)] for line in _table(title, group)]
    typed = [f"    {line.strip()}" for line in (this.epilog or "").splitlines() if line.startswith("  ")]
    parts = [f"## `{name}`", f"    {usage}", *paragraphs]
    return "\n\n".join(parts) + "\n\n" + "\n".join([*table, "Example:", "", *typed, ""])


def _table(title: str, options: Sequence[click.Parameter]) -> list[str]:
    rows = [
        f"| {_spelling(option)} | {_cell(option.help or '')} | {_default(option)} |"
        for option in options
        if isinstance(option, click.Option)
    ]
    head = [title, ""] if title else []
    return [*head, "| option | meaning | default |", "|---|---|---|", *rows, ""] if rows else []


def _spelling(option: click.Option) -> str:
    names = ", ".join(option.opts) + "".join(f", {name}" for name in option.secondary_opts)
    value = ""
    if not option.is_flag:
        choices = getattr(option.type, "choices", None)
        value = " " + (option.metavar or "|".join(choices or [option.type.name.upper()]))
    return f"`{_cell(names + value)}`"


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    if not option.show_default:
        return ""
    if option.secondary_opts:
        return f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    return f"`{option.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    written, _, _ = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    DOCUMENT.write_text(written + MARK + "\n" + reference(), encoding="utf-8")
