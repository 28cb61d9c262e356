"""The command tree, and what a failure looks like.

Exit status: 0 done · 1 failed, or found something wrong · 2 the command or the project file is wrong ·
3 trained, and rejected by the gates · 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from homeostat.cli.flags import rooted
from homeostat.cli.output import complain
from homeostat.domain.errors import DeclarationError, HomeostatError

PARTS: Final[Mapping[str, Sequence[str]]] = {
    "project": ("init", "plan", "apply"),
    "running": ("up", "serve", "down", "status", "doctor"),
    "models": ("train", "promote", "rollback"),
    "approving": ("approve",),
    "predicting": ("predict",),
    "rollouts": ("label", "replay", "shadow"),
    "quality": ("quality",),
    "explaining": ("explain",),
    "monitoring": ("monitor",),
    "registry": ("models",),
    "pipelines": ("run",),
    "tracking": ("sync",),
    "runs": ("runs",),
    "exchange": ("import", "export"),
    "reading": ("why", "lineage", "ledger"),
    "alerting": ("alerts", "incidents", "slo"),
    "observing": ("telemetry",),
    "keeping": ("gc",),
    "freezing": ("freeze", "unfreeze"),
    "backtesting": ("backtest",),
    "demo": ("demo",),
}
"""Which module of this package has which commands, in the order of the help."""


def tree(command: str = "") -> typer.Typer:
    """The commands: all of them, or only those of the module that has ``command``, which saves importing the rest.

    ``--version`` needs none.
    """
    app = typer.Typer(
        name="homeostat",
        help="Keeps machine-learning models in balance with a changing world.\n\n"
        "Begin with: homeostat init my-project --csv rows.csv --label churned --key id",
        epilog="Exit status: 0 done, 1 failed or something is wrong, 2 the command or the project file is wrong, "
        "3 rejected by the gates.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    parts = [part for part, commands in PARTS.items() if command in commands]
    for part in parts or (PARTS if command != "--version" else ()):
        import_module(f"homeostat.cli.{part}").register(app)
    return app


def __getattr__(name: str) -> typer.Typer:
    if name == "app":
        return tree()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version(wanted: bool) -> None:
    if wanted:
        from homeostat import __version__

        typer.echo(f"homeostat {__version__}")
        raise typer.Exit


@rooted
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    **flags: Any,
) -> None:
    context.obj = flags


def run() -> None:
    """Run the command that the program's arguments name."""
    try:
        tree(sys.argv[1] if len(sys.argv) > 1 else "")()
    except HomeostatError as error:
        complain(error)
        sys.exit(2 if isinstance(error, DeclarationError) else 1)
    except BrokenPipeError:  # the reader has seen enough, as in homeostat ledger ls | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
