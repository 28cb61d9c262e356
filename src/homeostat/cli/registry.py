"""``models``: what is registered, what was live when, and what two versions differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.cli import approving, deprecating, marking, packages, signing
from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, number, print_json, print_table
from homeostat.cli.session import Session
from homeostat.cli.versions import short, show_version, tags
from homeostat.domain.refs import Ref, parse_ref
from homeostat.domain.times import parse_time

if TYPE_CHECKING:
    from homeostat.app.registry.reports import Live, Model
    from homeostat.domain.events import Event

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(
        help="The registry: models, their versions and aliases, now and at any time.",
        no_args_is_help=True,
    )
    command(models, "ls", settings=("home", "server"))(ls)
    command(models, "show", settings=("home", "server"))(show)
    command(models, "diff", settings=("home", "server"))(diff)
    command(models, "at", settings=("home", "server"))(at)
    command(models, "history", settings=("home", "server"))(history)
    marking.register(models)
    packages.register(models)
    approving.register_reading(models)
    signing.register(models)
    deprecating.register(models)
    app.add_typer(models, name="models")


def ls(
    session: Session,
    filter: Annotated[
        str,
        typer.Option(
            "--filter",
            "-f",
            metavar="FILTER",
            help="As in \"name LIKE 'churn%' AND tags.team = 'risk'\".",
        ),
    ] = "",
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List registered models, declared in a project or not, by name."""
    with session.homeostat() as homeostat:
        found = homeostat.models(filter, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            one.record.name,
            max(one.record.latest.values(), default=None),
            _pointers(one.aliases),
            ", ".join(f"@{number} {said.on:%Y-%m-%d}" for number, said in sorted(one.deprecated.items())),
            moment(one.record.updated_at),
            short(one.record.description),
        ]
        for one in found.models
    ]
    print_table(["model", "newest", "aliases", "deprecated", "changed", "description"], rows)
    if found.token:
        typer.echo(f"There are more than {limit}: narrow the filter, or raise --limit.")


def show(
    session: Session,
    ref: Annotated[
        str, typer.Argument(metavar="MODEL", help="Its name, or one version: churn@3, churn@champion.")
    ],
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Show a model with its newest versions, or one version."""
    named = _named(ref)
    with session.homeostat() as homeostat:
        if named.version:
            version = homeostat.version(named.name, named.version)
            print_json(version) if as_json else show_version(version)
        else:
            model = homeostat.model(named.name, limit=limit)
            print_json(model) if as_json else _show_model(model)


def diff(
    session: Session,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version: churn@3, churn@champion.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another one; of the same model 4 will do.")],
    as_json: Json = False,
) -> None:
    """Show what two versions differ in: metrics, parameters, data, signature, environment, files."""
    first = _named(old)
    second = _named(new) if "@" in new else first.at(new)
    with session.homeostat() as homeostat:
        found = homeostat.compare(str(first), str(second))
    if as_json:
        print_json(found)
        return
    if not found.differences:
        typer.echo(f"{found.old} and {found.new} do not differ.")
        return
    rows = [[d.group, d.name, _value(d.old), _value(d.new)] for d in found.differences]
    print_table(["", "", found.old, found.new], rows)
    same = ", ".join(f"{count} {group}" for group, count in found.same.items())
    if same:
        typer.echo(f"The same: {same}.")


def at(
    session: Session,
    ref: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Its name, or with another alias than champion: churn@staging."),
    ],
    time: Annotated[str, typer.Argument(metavar="TIME", help="As in 2013-05-01T12:00, UTC.")],
    as_json: Json = False,
) -> None:
    """Show what was live at a time: where an alias pointed, and what the deployment served."""
    named = _named(ref)
    with session.homeostat() as homeostat:
        found = homeostat.live_at(named.name, parse_time(time), alias=named.version or "champion")
    if as_json:
        print_json(found)
        return
    _show_live(found)


def history(
    session: Session,
    ref: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Its name; or one version or alias: churn@3, churn@champion."),
    ],
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Show what happened to a model, its versions and aliases, the newest first."""
    named = _named(ref)
    with session.homeostat() as homeostat:
        homeostat.model(named.name, limit=1)  # says so where there is none
        found = homeostat.events(subject=str(named), limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [
        [moment(one.at), one.actor, one.subject, one.kind.removeprefix("model."), _told(one)] for one in found
    ]
    print_table(["when", "who", "subject", "what", "details"], rows)


def _named(text: str) -> Ref:
    return parse_ref(text if text.startswith("model/") else f"model/{text}")


def _show_model(found: Model) -> None:
    record = found.model.record
    typer.echo(f"model/{record.name}, registered {moment(record.created_at)}")
    for text in filter(None, (record.description, tags(found.model.tags))):
        typer.echo(text)
    rows = [
        [
            version.record.version,
            version.record.stage,
            version.record.label if version.record.label != "None" else "",
            ", ".join(sorted(version.aliases)),
            f"{version.deprecation.on:%Y-%m-%d}" if version.deprecation else "",
            f"run/{version.record.run}" if version.record.run else "",
            moment(version.record.created_at),
        ]
        for version in found.versions
    ]
    print_table(["version", "stage", "label", "aliases", "deprecated", "run", "created"], rows)


def _show_live(found: Live) -> None:
    name = Ref("model", found.model).at(found.alias)
    when = moment(found.at)
    if found.version is None:
        typer.echo(f"At {when}, {name} pointed to nothing.")
    else:
        since = f"since {moment(found.since)}, by {found.actor}: {found.reason} (event {found.event})"
        typer.echo(f"At {when}, {name} was @{found.version}, {since}.")
    if found.arms:
        shares = ", ".join(f"@{arm['version']} {arm['weight']:.0%}" for arm in found.arms)
        typer.echo(f"deployment/{found.model} served {shares}.")


def _told(event: Event) -> str:
    """An event's body on one line."""
    said = {name: value for name, value in event.body.items() if value not in (None, "", {}, [])}
    return ", ".join(f"{name} {short(str(value))}" for name, value in said.items())


def _pointers(aliases: dict[str, int]) -> str:
    return ", ".join(f"{alias} @{version}" for alias, version in sorted(aliases.items()))


def _value(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return "" if value is None else short(str(value))
