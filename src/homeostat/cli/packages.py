"""Versions out of the registry and into it: ``models export``, ``import``, ``card`` and ``bom``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, json_text, print_json
from homeostat.cli.session import Session
from homeostat.domain.refs import Ref, parse_ref

Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="As in churn@3 or churn@champion.")]


def register(models: typer.Typer) -> None:
    """Add the commands to the group."""
    command(models, "export", settings=("home", "server"))(export)
    command(models, "import", settings=("home", "server"))(import_)
    command(models, "card", settings=("home", "server"))(card)
    command(models, "bom", settings=("home", "server"))(bom)


def export(
    session: Session,
    ref: Version,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to: new, or empty.")],
    layout: Annotated[
        Literal["mlflow", "package"],
        typer.Option(help="An MLflow model directory, or the files as they are kept."),
    ] = "mlflow",
) -> None:
    """Write a version as an MLflow model directory, which mlflow.pyfunc.load_model loads."""
    named = version_of(ref)
    with session.homeostat() as homeostat:
        count = homeostat.export(named.name, folder, named.version, layout=layout)
        said = homeostat.version(named.name, named.version).deprecation
    typer.echo(f"Wrote {count} files of {named} to {folder}.")
    if said is not None:
        from homeostat.app.registry.deprecation import told

        typer.echo(f"warning: {named} is {told(said)}", err=True)


def import_(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model; registered if need be.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An MLflow model directory.")],
    as_json: Json = False,
) -> None:
    """Make an MLflow model directory a version, its files as they are. Nothing in it runs."""
    with session.homeostat() as homeostat:
        made = homeostat.import_directory(name.removeprefix("model/"), folder)
        found = homeostat.version(made.model, str(made.version)).contents
    if as_json:
        print_json(made)
        return
    typer.echo(f"{Ref('model', made.model).at(made.version)} has the digest {made.digest}.")
    if found is not None and found.kept_as:
        typer.echo(f"Its model is kept as {found.kept_as}.")


def card(
    session: Session,
    ref: Version,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Show the model card of a version, in Markdown or JSON: facts, and what is missing."""
    from homeostat.engine.registry.cardpage import markdown

    named = version_of(ref)
    with session.homeostat() as homeostat:
        found = homeostat.card(named.name, named.version)
    _give(json_text(found) if as_json else markdown(found), out)


def bom(session: Session, ref: Version, out: Out = None) -> None:
    """Show the bill of materials of a version: CycloneDX, with the model, its card, data and packages."""
    named = version_of(ref)
    with session.homeostat() as homeostat:
        text = homeostat.bill_of_materials(named.name, named.version).decode()
    _give(text, out)


def _give(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text.rstrip())
    else:
        out.write_text(text.rstrip() + "\n", "utf-8")


def version_of(text: str) -> Ref:
    """The version that an argument names; without one, the newest."""
    found = parse_ref(text if text.startswith("model/") else f"model/{text}")
    return found if found.version else found.at("latest")
