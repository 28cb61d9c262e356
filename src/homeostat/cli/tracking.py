"""``sync``: what runs logged while no server was there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, print_json, print_table, progress
from homeostat.cli.session import Session

if TYPE_CHECKING:
    from homeostat.sdk.tracking.sync import Synced


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "sync", settings=("home", "server", "store"))(sync)


def sync(
    session: Session,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="The spool; by default that of the home.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send what runs logged while no server was there; into the store itself where no server runs."""
    spool = folder or session.settings.home / "spool"
    done = _sync(session, spool)
    if as_json:
        print_json(done)
    elif not done:
        typer.echo(f"Nothing waits in {spool}.")
    else:
        rows = [[f"run/{one.run}", one.state, one.frames, "; ".join(one.problems[:3])] for one in done]
        print_table(["run", "state", "records", ""], rows)
    if any(one.state == "failed" for one in done):
        raise typer.Exit(1)


def _sync(session: Session, spool: Path) -> list[Synced]:
    from homeostat.sdk.tracking.local import Local
    from homeostat.sdk.tracking.remote import Remote
    from homeostat.sdk.tracking.sync import sync

    with progress(f"Sending {spool}") as tell:

        def show(stream: object, frames: int) -> None:
            tell(f"run/{getattr(stream, 'run', '')}: {frames:,} records sent")

        if server := session.server:
            remote = Remote(server)
            try:
                return sync(spool, remote, progress=show)
            finally:
                remote.close()
        with session.container() as container:
            return sync(spool, Local(container), progress=show)
