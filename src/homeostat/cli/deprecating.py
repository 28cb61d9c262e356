"""``models deprecate``: from when on a version is not to be deployed anew."""

from __future__ import annotations

from typing import Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, print_json
from homeostat.cli.packages import Version, version_of
from homeostat.cli.people import Actor, Reason
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest
from homeostat.domain.refs import Ref
from homeostat.domain.times import parse_time


def register(models: typer.Typer) -> None:
    """Add the command to the group."""
    command(models, "deprecate", settings=("home", "server"))(deprecate)


def deprecate(
    session: Session,
    ref: Version,
    on: Annotated[
        str, typer.Option("--on", metavar="DATE", help="From when on, as in 2026-12-31; UTC.")
    ] = "",
    reason: Reason = "",
    use: Annotated[
        str, typer.Option(metavar="VERSION", help="What to take in its place, as in churn@4.")
    ] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Say from when on a version is not to be deployed anew. What serves goes on serving, with an alert."""
    from homeostat.app.registry.deprecation import told

    if undo == bool(on) or (undo and use) or (on and not reason):
        raise BadRequest(
            f"deprecate {ref} does not say what is meant",
            remedy="Write --on DATE --reason …, with --use VERSION where there is one; or --undo",
        )
    named = version_of(ref)
    with session.homeostat() as homeostat:
        if undo:
            found = homeostat.restore(named.name, named.version, reason=reason, actor=actor)
        else:
            found = homeostat.deprecate(
                named.name,
                named.version,
                on=parse_time(on, field="--on"),
                reason=reason,
                use=use,
                actor=actor,
            )
    if as_json:
        print_json(found)
        return
    version = Ref("model", found.record.model).at(found.record.version)
    said = told(found.deprecation) if found.deprecation else "no longer deprecated"
    typer.echo(f"{version} is {said}.")
