"""``init``, ``plan`` and ``apply``: a project's declarations, and making them so."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, print_json, progress
from homeostat.cli.session import Session

if TYPE_CHECKING:
    from homeostat.app.apply import Change

Project = Annotated[
    Path, typer.Option("--project", "-p", metavar="PATH", help="The project's folder, or its file.")
]
_SIGNS: Final = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "remove": ("-", "red"),
    "keep": ("=", ""),
}
_HERE: Final = Path()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "init", settings=())(init)
    command(app, "plan", settings=("home", "store"))(plan)
    command(app, "apply", settings=("home", "store"))(apply)


def init(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write the project.")] = _HERE,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The rows to learn from; without one, an example is made."),
    ] = None,
    label: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column to predict: 0/1 or true/false.")
    ] = "",
    key: Annotated[str, typer.Option(metavar="COLUMN", help="The column that identifies a row.")] = "",
) -> None:
    """Write a project file to begin with."""
    from homeostat.cli.starter import write

    written = write(folder, csv, label, key)
    typer.echo(f"Wrote {written.file}")
    if written.data is not None:
        typer.echo(f"Wrote {written.data}, example rows")
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    typer.echo(f"Next: {where}homeostat apply && homeostat train && homeostat up")


def plan(session: Session, where: Project = _HERE, as_json: Json = False) -> None:
    """Show what apply would change, and change nothing."""
    with session.container() as container:
        from homeostat.app.apply import plan
        from homeostat.app.projects import load_project

        changes = plan(container, load_project(where))
    if as_json:
        print_json(changes)
        return
    _show(changes)
    changing = any(change.action != "keep" for change in changes)
    typer.echo("Apply it with: homeostat apply" if changing else "Nothing to change.")


def apply(session: Session, where: Project = _HERE, as_json: Json = False) -> None:
    """Make the store hold what the project declares, and ingest the files that it names."""
    with session.container() as container:
        from homeostat.app.apply import apply
        from homeostat.app.projects import load_project

        declared = load_project(where)
        with progress("Applying"):
            changes = apply(container, declared)
    if as_json:
        print_json(changes)
        return
    _show(changes)
    typer.echo("Applied." if any(change.action != "keep" for change in changes) else "Nothing to change.")


def _show(changes: Sequence[Change]) -> None:
    for change in changes:
        sign, colour = _SIGNS[change.action]
        if change.action == "keep":
            continue
        line = f"{sign} {change.ref}" + (f"  ({change.detail})" if change.detail else "")
        typer.echo(typer.style(line, fg=colour) if sys.stdout.isatty() else line)
        for promise in change.promises:
            typer.echo(f"    {promise}")
    counts = {action: sum(change.action == action for change in changes) for action in _SIGNS}
    told = [f"{count} to {action}" for action, count in counts.items() if action != "keep"]
    typer.echo(", ".join([*told, f"{counts['keep']} unchanged"]) + ".")
