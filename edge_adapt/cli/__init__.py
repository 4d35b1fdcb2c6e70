"""The command line: a thin layer over the Python API. Nothing heavy is imported before a command runs.

An `EdgeAdaptError` becomes one sentence on standard error and status 1; wrong usage is click's, status 2.
"""

from __future__ import annotations

import errno
import io
import sys
import warnings
from importlib import import_module
from typing import Any, TextIO

import click

from edge_adapt import __version__
from edge_adapt.cli import words
from edge_adapt.runtime.errors import ConfinementWarning, EdgeAdaptError, is_out_of_memory

EDITS = ("add", "remove", "rename", "merge", "correct", "undo", "redo", "log", "strip")
COMMANDS = (
    *("demo", "check", "adapt", "classify", "info", "models"),
    *EDITS,
    *("serve", "web", "pack", "unpack", "pull", "bake", "bench", "doctor"),
    *("train", "compare", "evaluate", "report", "export", "wrap"),
)
"""Each is in a module of its name, which is imported when the command runs; the edits are in one."""

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class _Group(click.Group):
    """The commands, imported when they are needed, and errors in one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = "edit" if cmd_name in EDITS else cmd_name
        command: click.Command = getattr(import_module(f"edge_adapt.cli.{module}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}; take {near[0] if near else 'one of ' + ', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A file name need not be valid Unicode, and a terminal need not show all of Unicode.
            sys.stdout.reconfigure(errors="backslashreplace")
        if not sys.warnoptions:
            # Of an image that it then reads, or refuses with an error, Pillow also warns.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except EdgeAdaptError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader has gone; click ends quietly
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(words.shown(f"{where}{error.strerror or error}.")) from error
        except (ImportError, MemoryError, RuntimeError, SystemError) as error:
            if not _is_out_of_memory(error):
                raise
            raise click.ClickException(
                "there is not enough memory for this; use fewer or smaller images, or a smaller model."
            ) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise SystemExit(INTERRUPTED) from None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One of ours as the sentence that it is, and any other as Python does."""
    ours = issubclass(category, ConfinementWarning)
    text = f"{message}\n" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    click.echo(text, err=True, nl=False)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, as Python says it, or PyTorch where a command has imported it."""
    if "torch" not in sys.modules:
        return is_out_of_memory(error)
    from edge_adapt.networks import memory

    return memory.is_out_of_memory(error)


@click.group("edge-adapt", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, "--version", prog_name="edge-adapt")
def main() -> None:
    """Teach a small image model, from a few images of each, classes that it has never seen.

    On a device: adapt and classify. On a workstation: train, evaluate and export. To see it work: demo.
    """
