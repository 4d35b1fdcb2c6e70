"""Help of a command with many options: in groups, the common ones first, and the rest where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

_ALL = "edge_adapt.cli.grouped.all"


class Group(NamedTuple):
    """Options that belong together; `rest` are those that `--help` leaves to `--help-all`."""

    title: str
    common: Sequence[click.Parameter]
    rest: Sequence[click.Parameter] = ()


def options(*decorators: Callable[[Any], Any]) -> list[click.Parameter]:
    """What `click.option` and its like would give a command, in this order."""

    def command() -> None: ...

    for decorator in reversed(decorators):
        command = decorator(command)
    return click.command("options")(command).params


class GroupedCommand(click.Command):
    """A command whose options stand in `groups`, in its help and in its reference."""

    def __init__(self, *arguments: Any, groups: Sequence[Group], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.groups = groups
        help_all = click.Option(
            ["--help-all"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_all,
            help="Show the options that are needed less often too.",
        )
        self.params += [*(option for group in groups for option in (*group.common, *group.rest)), help_all]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The groups, and then what is in none."""
        grouped = [option for group in self.groups for option in (*group.common, *group.rest)]
        others = Group("Help", [option for option in self.get_params(ctx) if option not in grouped])
        for group in (*self.groups, others):
            shown = [*group.common, *(group.rest if ctx.meta.get(_ALL) else ())]
            records = [option.get_help_record(ctx) for option in shown if isinstance(option, click.Option)]
            with formatter.section(group.title):
                formatter.write_dl([record for record in records if record])


def _show_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
