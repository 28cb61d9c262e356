"""``models alias``, ``models tag`` and ``models describe``: what people say of models and versions."""

from __future__ import annotations

from typing import Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.packages import Version, version_of
from homeostat.cli.people import Actor
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest
from homeostat.domain.refs import Ref, parse_ref

Subject = Annotated[
    str, typer.Argument(metavar="MODEL", help="Its name, or one version: churn@3, churn@champion.")
]


def register(models: typer.Typer) -> None:
    """Add the commands to the group."""
    command(models, "alias", settings=("home", "server"))(alias)
    command(models, "tag", settings=("home", "server"))(tag)
    command(models, "describe", settings=("home", "server"))(describe)


def alias(
    session: Session,
    ref: Version,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="As in staging.")] = "",
    remove: Annotated[
        bool, typer.Option("--remove", help="Take the alias away: write churn@staging.")
    ] = False,
    actor: Actor = "",
) -> None:
    """Let an alias point to a version. The champion of a deployment is what it serves: setting it is a promotion."""
    from homeostat.app.registry.deprecation import told

    if remove == bool(name):
        raise BadRequest(
            f"alias {ref} does not say what is meant",
            remedy="Write alias churn@3 staging, or alias churn@staging --remove",
        )
    named = version_of(ref)
    with session.homeostat() as homeostat:
        if remove:
            homeostat.alias(named.name, named.version, None, actor=actor)
            typer.echo(f"{named} points to nothing.")
            return
        found = homeostat.version(named.name, named.version)
        homeostat.alias(named.name, name, found.record.version, actor=actor)
    typer.echo(f"{Ref('model', named.name).at(name)} points to @{found.record.version}.")
    if found.deprecation is not None:
        typer.echo(f"warning: @{found.record.version} is {told(found.deprecation)}", err=True)


def tag(
    session: Session,
    ref: Subject,
    pairs: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE…")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Take this tag off.")] = None,
    actor: Actor = "",
) -> None:
    """Tag a model, or one version of it."""
    from homeostat.cli.models import pair

    tags: dict[str, str | None] = dict(map(pair, pairs or []))
    tags |= dict.fromkeys(remove or [])
    if not tags:
        raise BadRequest("tag says nothing", remedy="Write NAME=VALUE, or --remove NAME")
    named = parse_ref(ref if ref.startswith("model/") else f"model/{ref}")
    with session.homeostat() as homeostat:
        homeostat.mark(named.name, named.version, tags=tags, actor=actor)
    typer.echo(f"Tagged {named}.")


def describe(
    session: Session,
    ref: Subject,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What it is.")],
    actor: Actor = "",
) -> None:
    """Say what a model, or one version of it, is."""
    named = parse_ref(ref if ref.startswith("model/") else f"model/{ref}")
    with session.homeostat() as homeostat:
        homeostat.mark(named.name, named.version, description=text, actor=actor)
    typer.echo(f"Described {named}.")
