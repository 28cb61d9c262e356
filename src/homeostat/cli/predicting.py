"""``predict``: answer a table of any size, in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, print_json, progress
from homeostat.cli.session import Session


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "predict", settings=("home", "store"))(predict)


def predict(
    session: Session,
    model: Annotated[
        str,
        typer.Argument(
            help="model/NAME@VERSION, with an alias for the version too, or a model's file or folder."
        ),
    ],
    rows: Annotated[
        Path, typer.Option("--input", "-i", metavar="FILE", help="The rows: .parquet, .csv, .ndjson.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where they go with their answers.")
    ],
    on_error: Annotated[
        Literal["stop", "keep"],
        typer.Option(help="What a row without an answer does: end it, or go on with its error beside it."),
    ] = "stop",
    as_of: Annotated[
        Literal["now", "request"],
        typer.Option(
            help="Features as they are served now, or as they could be seen at each request's time."
        ),
    ] = "now",
    trusted: Annotated[
        list[str] | None,
        typer.Option("--trust", "--trusted", metavar="TYPE", help="A type that the model's file may hold."),
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read a pickle of known-safe types, or an MLflow pyfunc.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer every row of a table as the model served would, in constant memory."""
    from homeostat.app.predicting import predict as answer

    with session.container() as container, progress(f"Predicting {rows}") as tell:
        done = answer(
            container,
            model,
            rows,
            output,
            trusted=trusted or (),
            allow_pickle=allow_pickle,
            on_error=on_error,
            as_of=as_of,
            tell=lambda count: tell(f"{count:,} rows"),
        )
    if as_json:
        print_json(done)
        return
    failed = f", {done.failed:,} of them without an answer" if done.failed else ""
    typer.echo(f"Answered {done.rows:,} rows with {done.model}{failed}: {done.output}")
