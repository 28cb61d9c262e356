"""``alerts``, ``incidents``, ``slo``: what is wrong, who looks after it, how it went, and what is left of budgets."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, number, print_json, print_table
from homeostat.cli.people import Actor
from homeostat.cli.session import Session
from homeostat.domain.durations import format_duration, parse_duration
from homeostat.domain.errors import BadRequest, DeclarationError
from homeostat.domain.times import parse_time

if TYPE_CHECKING:
    from homeostat.app.slos import LevelStanding
    from homeostat.domain.incidents import Moment
    from homeostat.domain.records import Alert

Id = Annotated[str, typer.Argument(metavar="ALERT", help="Its id, or while it is open its key.")]
_WHEN = "A time as 2026-01-31T18:00 (UTC), or a while as 2h."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="What is wrong, who looks after it, and who is told.", no_args_is_help=True)
    for name, function in (
        ("ls", ls),
        ("show", show),
        ("ack", ack),
        ("silence", silence),
        ("silences", silences),
        ("unsilence", unsilence),
        ("channels", channels),
    ):
        command(group, name, settings=("home", "server"))(function)
    app.add_typer(group, name="alerts")
    command(app, "incidents", settings=("home", "server"))(incidents)
    command(app, "slo", settings=("home", "server"))(slo)


def ls(
    session: Session,
    every: Annotated[bool, typer.Option("--all", help="Also those that are resolved.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List alerts, the newest first."""
    with session.homeostat() as homeostat:
        found = homeostat.alerts(state="" if every else "open", limit=limit)
        # A disk that was full before the controller looked has no alert, and may have no room for one.
        space = "" if found or as_json else homeostat.status().get("space")
    if as_json:
        print_json(found)
        return
    rows = [
        [one.id, one.severity, _state(one), moment(one.opened_at), one.subject, one.summary] for one in found
    ]
    if rows:
        print_table(["id", "severity", "state", "opened", "about", "what"], rows)
    elif space:
        typer.echo(f"No alert is kept, but {space}. Free some, or run homeostat gc.")
    else:
        typer.echo("No alerts." if every else "Nothing is wrong: no alert is open.")


def show(session: Session, id: Id, as_json: Json = False) -> None:
    """Show an alert: what was seen and done, what may be behind it, and who was told."""
    with session.homeostat() as homeostat:
        found = homeostat.alert(id)
    if as_json:
        print_json(found)
        return
    alert = found.alert
    typer.echo(f"{alert.severity} about {alert.subject}: {alert.summary}")
    facts = [
        ("id", alert.id),
        ("key", alert.key),
        ("state", _state(alert)),
        *((step.what, _step(step)) for step in found.times),
        (
            "acknowledged",
            f"{moment(alert.acknowledged_at)} by {alert.acknowledged_by}" if alert.acknowledged_at else "",
        ),
        ("silenced", found.silenced),
        ("action", alert.action),
        ("features", ", ".join(alert.suspects.features)),
        ("slices", ", ".join(alert.suspects.slices)),
        *(("before it", f"{moment(one.at)}  {one.what} (event {one.seq})") for one in alert.suspects.changes),
        *(
            ("told", f"{one.channel}: {one.transition}, {_delivered(one.state, one.error)}")
            for one in found.deliveries
        ),
    ]
    print_table(["", ""], [[name, value] for name, value in facts if value])


def ack(
    session: Session,
    id: Id,
    actor: Actor = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What you do about it.")] = "",
    as_json: Json = False,
) -> None:
    """Say that you look after an alert: it escalates no further."""
    with session.homeostat() as homeostat:
        found = homeostat.acknowledge(id, actor=actor, reason=reason)
    print_json(found) if as_json else typer.echo(
        f"alert/{found.id} is acknowledged by {found.acknowledged_by}."
    )


def silence(
    session: Session,
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT", help="A pattern of what alerts are about, as deployment/churn or '*'."
        ),
    ],
    until: Annotated[str, typer.Option(metavar="WHEN", help=f"Until when. {_WHEN}")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the ledger.")],
    begins: Annotated[
        str, typer.Option("--from", metavar="WHEN", help=f"Announce maintenance from then on. {_WHEN}")
    ] = "",
    key: Annotated[str, typer.Option(metavar="PATTERN", help="Only alerts whose key is like this.")] = "*",
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Tell nobody of some alerts for a time. What is still open then is told when it ends."""
    with session.homeostat() as homeostat:
        now = datetime.fromisoformat(str(homeostat.status()["now"]))
        start = _moment(begins, now) if begins else None
        found = homeostat.silence(
            until=_moment(until, start or now),
            reason=reason,
            subject=subject,
            key=key,
            begins_at=start,
            actor=actor,
        )
    if as_json:
        print_json(found)
    else:
        typer.echo(
            f"silence/{found.id}: nobody is told of {found.subject} from {moment(found.begins_at)} "
            f"to {moment(found.until)} UTC."
        )


def silences(
    session: Session,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Json = False,
) -> None:
    """List silences and maintenance windows."""
    with session.homeostat() as homeostat:
        found = homeostat.silences(ended=every)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            one.id,
            one.kind,
            one.state,
            one.subject,
            one.key,
            moment(one.begins_at),
            moment(one.until),
            one.reason,
        ]
        for one in found
    ]
    if rows:
        print_table(["id", "kind", "state", "about", "key", "from", "until", "because"], rows)
    else:
        typer.echo("Nothing is silenced.")


def unsilence(
    session: Session,
    id: Annotated[str, typer.Argument(metavar="SILENCE", help="Its id.")],
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """End a silence before its time."""
    with session.homeostat() as homeostat:
        found = homeostat.end_silence(id, actor=actor)
    print_json(found) if as_json else typer.echo(f"silence/{found.id} has ended.")


def channels(session: Session, as_json: Json = False) -> None:
    """List who is told of alerts, and what is still to be sent."""
    with session.homeostat() as homeostat:
        found = homeostat.channels()
    if as_json:
        print_json(found)
        return
    rows = [
        [
            one.name,
            one.kind,
            "pages" if one.severity == "page" else "all",
            f"pages after {one.after / 60:g} min" if one.after else "at once",
            one.waiting,
            moment(one.sent_at),
            one.error,
        ]
        for one in found
    ]
    if rows:
        print_table(["channel", "kind", "of", "when", "waiting", "last told", "error"], rows)
    else:
        typer.echo("No channel is declared: alerts are in the log alone. See the setting channels.")


def incidents(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Of this model alone.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what went wrong with deployments, from its onset to when it was healed."""
    with session.homeostat() as homeostat:
        found = homeostat.incidents(model, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("Nothing went wrong.")
        return
    columns = ["onset", "detected", "candidate", "decided", "healed"]
    rows = []
    for one in found:
        at = {step.what: f"{moment(step.at)[:-3]}{_after(step)}" for step in one.moments}
        rows.append([one.alert, one.severity, one.deployment, *(at.get(what, "") for what in columns)])
    print_table(["id", "severity", "deployment", *columns], rows)


def slo(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Of this model alone.")] = "",
    as_json: Json = False,
) -> None:
    """Show service levels: what is left of each error budget, and how fast it burns."""
    with session.homeostat() as homeostat:
        found = homeostat.levels(model)
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("No model declares service levels.")
    for one in found:
        rows = [
            [
                level.level,
                f"{level.objective:.4g}",
                "" if level.good is None else f"{level.good:.5g}",
                level.total,
                level.bad,
                "" if level.budget_left is None else f"{level.budget_left:.1%}",
                *_rates(level),
                ", ".join(dict.fromkeys(burn.severity for burn in level.burns if burn.fires)),
            ]
            for level in one.levels
        ]
        columns = ["level", "promised", "held", "events", "bad", "budget left", "1h", "6h", "3d", "alerts"]
        print_table(
            columns, rows, title=f"deployment/{one.deployment}, over {one.period}; burn rates over hours"
        )


def _rates(level: LevelStanding) -> list[str]:
    return [number(burn.rate) if level.total else "" for burn in level.burns]


def _step(step: Moment) -> str:
    by = f"  {step.by}" if step.by and step.what in ("candidate", "decided") else ""
    return f"{moment(step.at)}{_after(step)}{by}"


def _after(step: Moment) -> str:
    """How long it took since the step before."""
    return "" if step.seconds is None else f" (+{format_duration(timedelta(seconds=round(step.seconds)))})"


def _state(alert: Alert) -> str:
    if alert.state == "open" and alert.acknowledged_at:
        return "acknowledged"
    return alert.state


def _delivered(state: str, error: str) -> str:
    return "sent" if state == "sent" else f"waiting{f': {error}' if error else ''}"


def _moment(text: str, now: datetime) -> datetime:
    """A time, or a while after ``now``."""
    try:
        return now + parse_duration(text)
    except DeclarationError:  # then it is a time, or neither
        pass
    try:
        return parse_time(text)
    except BadRequest as error:
        raise BadRequest(error.message, remedy=f"Give {_WHEN[0].lower()}{_WHEN[1:]}") from error
