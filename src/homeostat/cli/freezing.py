"""``freeze`` and ``unfreeze``: the emergency stop of the loop."""

from __future__ import annotations

from typing import Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.people import Actor, Reason
from homeostat.cli.session import Session

Which = Annotated[str, typer.Argument(metavar="[MODEL]", help="The model; without one, all of them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "freeze", settings=("home", "server"))(freeze)
    command(app, "unfreeze", settings=("home", "server"))(unfreeze)


def freeze(session: Session, model: Which = "", reason: Reason = "asked for", actor: Actor = "") -> None:
    """Stop the loop: nothing is trained, rolled out or promoted; what is worse is still taken back."""
    name = model.removeprefix("model/")
    with session.homeostat() as homeostat:
        made = homeostat.freeze(name, reason=reason, actor=actor)
    typer.echo(f"Frozen: {made.why}. Go on with homeostat unfreeze{f' {name}' if name else ''}.")


def unfreeze(session: Session, model: Which = "", reason: Reason = "asked for", actor: Actor = "") -> None:
    """Let the loop go on, with what was waiting first."""
    name = model.removeprefix("model/")
    with session.homeostat() as homeostat:
        ended = homeostat.unfreeze(name, reason=reason, actor=actor)
    typer.echo(f"No longer frozen: {ended.why}.")
