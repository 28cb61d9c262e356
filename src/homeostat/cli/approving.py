"""``approve`` and ``models approvals``: people's consent to versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, print_json, print_table
from homeostat.cli.packages import version_of
from homeostat.cli.people import Actor, Reason
from homeostat.cli.session import Session
from homeostat.domain.refs import Ref

if TYPE_CHECKING:
    from homeostat.app.approvals import Standing

Version = Annotated[str, typer.Argument(metavar="VERSION", help="As in churn@3 or churn@latest.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "approve", settings=("home", "server"))(approve)


def register_reading(models: typer.Typer) -> None:
    """Add what reads them to the group."""
    command(models, "approvals", settings=("home", "server"))(approvals)


def approve(
    session: Session,
    ref: Version,
    reason: Reason,
    actor: Actor = "",
    digest: Annotated[str, typer.Option(help="Only if the version has this digest.")] = "",
    as_json: Json = False,
) -> None:
    """Agree to a version that passed its gates; it is rolled out once enough people have."""
    named = version_of(ref)
    with session.homeostat() as homeostat:
        number = homeostat.version(named.name, named.version).record.version
        found = homeostat.approve(named.name, number, reason=reason, actor=actor, digest=digest)
    print_json(found) if as_json else _show(found)


def approvals(session: Session, ref: Version, as_json: Json = False) -> None:
    """Show who agreed to a version, and how many have yet to."""
    named = version_of(ref)
    with session.homeostat() as homeostat:
        number = homeostat.version(named.name, named.version).record.version
        found = homeostat.approvals(named.name, number)
    print_json(found) if as_json else _show(found)


def _show(found: Standing) -> None:
    rows = [
        [one.actor, moment(one.at), counts, one.reason]
        for given, counts in ((found.approvals, "counts"), (found.others, "for something else"))
        for one in given
    ]
    if rows:
        print_table(["who", "when", "", "because"], rows)
    ref = Ref("model", found.model).at(found.version)
    if found.policy is None:
        typer.echo(f"{ref} needs no approval.")
    elif found.missing:
        typer.echo(f"{ref} ({found.digest}) waits for {found.missing} more of {found.policy.by} approvals.")
    else:
        typer.echo(f"{ref} ({found.digest}) is approved.")
