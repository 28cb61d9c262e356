"""The command tree, and what a failure looks like.

Exit status: 0 done · 1 failed, or found something wrong · 2 the command or the project file is wrong ·
3 trained, and rejected by the gates · 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from homeostat.cli import (
    approving,
    demo,
    exchange,
    keeping,
    models,
    pipelines,
    predicting,
    project,
    reading,
    registry,
    rollouts,
    running,
    runs,
    tracking,
)
from homeostat.cli.flags import rooted
from homeostat.cli.output import complain
from homeostat.domain.errors import DeclarationError, HomeostatError

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


def _version(wanted: bool) -> None:
    if wanted:
        from homeostat import __version__

        typer.echo(f"homeostat {__version__}")
        raise typer.Exit


@app.callback()
@rooted
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    **flags: Any,
) -> None:
    context.obj = flags


for part in (
    project,
    running,
    models,
    approving,
    predicting,
    rollouts,
    registry,
    pipelines,
    tracking,
    runs,
    exchange,
    reading,
    keeping,
    demo,
):
    part.register(app)


def run() -> None:
    """Run the command that the program's arguments name."""
    try:
        app()
    except HomeostatError as error:
        complain(error)
        sys.exit(2 if isinstance(error, DeclarationError) else 1)
    except BrokenPipeError:  # the reader has seen enough, as in homeostat ledger ls | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
