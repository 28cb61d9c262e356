"""``runs files``: the files of a run, listed folder by folder, and each of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from homeostat.cli.output import Json, print_json, print_table
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest, Conflict


def files(
    session: Session,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or the beginning of it.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder, or a file.")] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the file there, in place of showing it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the files of a run; given the path of one, show it: what was logged, and what was noted by itself."""
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
                rows = [
                    [one.name if one.size is not None else f"{one.name}/", _size(one.size)] for one in listed
                ]
                print_table(["file", "bytes"], rows)
            return
        if out is None:
            found.fetch(id, path, sys.stdout.buffer)
            return
        with out.open("xb") as file:
            try:
                found.fetch(id, path, file)
            except BaseException:
                out.unlink()
                raise
    typer.echo(f"Wrote {out.stat().st_size:,} bytes to {out}.")


def _size(size: int | None) -> str:
    return "" if size is None else f"{size:,}"
