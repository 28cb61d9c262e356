"""``runs files``: the files of a run, all of them or those below a folder, and each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from homeostat.cli.output import Json, print_json, print_table
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest, Conflict, NotFound


def files(
    session: Session,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or the beginning of it.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder, or a file.")] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the file there, in place of showing it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the files of a run, or those below a folder; given the path of one, show it."""
    from homeostat.sdk.tracking.reading import runs

    if out is not None and not path:
        raise BadRequest(
            f"--out {out} is for one file", remedy=f"Name it: homeostat runs files {run} PATH --out {out}"
        )
    if out is not None and out.exists():
        raise Conflict(f"{out} is there already", remedy="Name a file that is new")
    with runs(session.settings, server=session.server) as found:
        id = found.summary(run.removeprefix("run/")).id
        listed = found.files(id, path)
        if listed and out is not None:
            raise Conflict(f"{path} is a folder", remedy=f"Name a file: homeostat runs files {id[:8]} {path}")
        if listed or not path:
            if as_json:
                print_json(listed)
            elif not listed:
                typer.echo(f"run/{id} has no files.")
            else:
                print_table(["file", "bytes"], [[one.path, f"{one.size:,}"] for one in listed])
            return
        try:
            if out is None:
                found.fetch(id, path, sys.stdout.buffer)
                return
            _write(out, lambda file: found.fetch(id, path, file))
        except NotFound as error:
            raise NotFound(
                f"{path} of run/{id} cannot be had: {error.message}",
                remedy=f"See homeostat runs files {id[:8]} for those there are",
            ) from error
    typer.echo(f"Wrote {out.stat().st_size:,} bytes to {out}.")


def _write(out: Path, fetch: Callable[[BinaryIO], None]) -> None:
    """A new file; none where it does not come whole."""
    with out.open("xb") as file:
        try:
            fetch(file)
        except BaseException:
            out.unlink()
            raise
