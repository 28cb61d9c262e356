"""``gc``: what is kept no longer."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, print_json, print_table
from homeostat.cli.session import Session

if TYPE_CHECKING:
    from homeostat.app.purging import Collected


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "gc", settings=("home", "store", "blobs"))(collect)


def collect(
    session: Session,
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Deleted at least this long ago, as in 7d; 0d: ever.")
    ] = "30d",
    delete: Annotated[
        bool, typer.Option("--delete", help="Do it. Without, it is only said what would be done.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove deleted runs, models and experiments for good, and free the bytes that nothing refers to.

    Of the spool, what a server has taken is removed; what waits to be sent stays.
    """
    from homeostat.app.purging import collect
    from homeostat.sdk.tracking.spool import tidy

    span = _span(older_than)
    with session.container() as container:
        found = collect(container, span, delete=delete)
    spool = tidy(session.settings.home / "spool", remove=delete)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(found) | {"spool": spool._asdict()})
        return
    _show(found, older_than)
    if spool.streams:
        done = "Removed" if delete else "To be removed"
        typer.echo(
            f"{done} from the spool, for a server has it: {spool.streams:,} streams, {spool.bytes:,} bytes."
        )
    if spool.waiting:
        typer.echo(f"In the spool {spool.waiting:,} streams wait to be sent. Do it: homeostat sync")


def _span(text: str) -> timedelta:
    from homeostat.domain.durations import parse_duration

    return timedelta() if re.fullmatch(r"0[a-z]*", text) else parse_duration(text)


def _show(found: Collected, older_than: str) -> None:
    rows = [
        *([f"experiment/{name.partition(' ')[0]}", name.partition(" ")[2]] for name in found.experiments),
        *([f"run/{id}", ""] for id in found.runs),
        *([f"logged-model/{id}", ""] for id in found.models),
    ]
    if rows:
        print_table(["removed" if found.deleted else "would be removed", ""], rows)
    if found.kept:
        print_table(
            ["deleted, and kept all the same", "because"], [[one.ref, one.reason] for one in found.kept]
        )
    for place in found.elsewhere:
        typer.echo(f"Not kept by this server, and left where they are: files at {place}")
    if found.recent:
        what = f"{found.recent:,} runs, logged models and experiments were deleted within {older_than}"
        typer.echo(f"{what} and stay; --older-than 0d takes them too.")
    freed = found.freed
    what = f"{freed.blobs:,} blobs, {freed.bytes:,} bytes"
    typer.echo(
        f"Freed {what}." if found.deleted else f"To be freed: {what}. Nothing was touched; add --delete."
    )
    if freed.young:
        typer.echo(f"{freed.young:,} blobs were put within the last day and stay whatever refers to them.")
