"""``shadow``, ``label`` and ``replay``: looking at what serves, and saying what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, number, print_json, print_table, progress
from homeostat.cli.people import Actor, Reason
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.refs import number_of

if TYPE_CHECKING:
    from homeostat.app.tried import Tried

Of = Annotated[str, typer.Argument(help="The deployment, as churn, or with a version, as churn@3.")]
_PART = 10_000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Let a version score live requests for comparison; it answers nobody.", no_args_is_help=True
    )
    command(group, "start", settings=("home", "server"))(start)
    command(group, "stop", settings=("home", "server"))(stop)
    command(group, "report", settings=("home", "server"))(report)
    app.add_typer(group, name="shadow")
    command(app, "label", settings=("home", "server"))(label)
    command(app, "replay", settings=("home", "server"))(replay)


def start(
    session: Session,
    version: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="The version, as churn@4.")],
    share: Annotated[float, typer.Option(help="The share of the requests it scores, up to 1.")] = 0.1,
    reason: Reason = "asked for",
    actor: Actor = "",
) -> None:
    """Begin a shadow, or give it another share."""
    name, at = _named(version)
    if not at:
        raise BadRequest(f"shadow start {version} names no version", remedy=f"Write {name}@4")
    with session.homeostat() as homeostat:
        homeostat.start_shadow(name, at, share=share, reason=reason, actor=actor)
    typer.echo(f"model/{name}@{at} scores {share:.0%} of the requests of deployment/{name} and answers none.")


def stop(session: Session, of: Of, reason: Reason = "asked for", actor: Actor = "") -> None:
    """Take a shadow out; without a version, every one."""
    name, at = _named(of)
    with session.homeostat() as homeostat:
        homeostat.stop_shadow(name, at, reason=reason, actor=actor)
    typer.echo(f"deployment/{name} has no shadow{f' @{at}' if at else ''} any more.")


def report(session: Session, of: Of, as_json: Json = False) -> None:
    """Show how far a shadow's scores agree with what was answered."""
    name, at = _named(of)
    with session.homeostat() as homeostat:
        found = homeostat.agreement(name, at)
    if as_json:
        print_json(found)
        return
    rows: list[list[Any]] = [
        ["requests shown" if found.one_in == 1 else f"one in {found.one_in} requests shown", found.shown],
        ["compared", found.compared],
        ["failed", found.failed],
        ["it was too slow for", found.missing],
        *([f"difference, {what}", number(value)] for what, value in found.difference.items()),
        ["correlation", number(found.correlation)],
        ["on the same side of 0.5", "" if found.same_side is None else f"{found.same_side:.2%}"],
        ["labelled", found.labelled],
        *([f"{found.loss.replace('_', ' ')}, {who}", number(value)] for who, value in found.log_loss.items()),
    ]
    print_table(["", "value"], rows, title=f"model/{name}@{found.version} beside what answered")
    for error in found.errors:
        typer.echo(f"It failed with: {error}")


def label(
    session: Session,
    deployment: Annotated[str, typer.Argument(help="Its name.")],
    file: Annotated[Path, typer.Argument(help="CSV or Parquet with prediction_id and label.")],
    as_json: Json = False,
) -> None:
    """Say what became of predictions, by their ids. Whatever is sent twice counts once."""
    import polars as pl

    if not file.is_file():
        raise NotFound(f"there is no file {file}", remedy="Name a CSV or a Parquet file")
    try:
        rows = pl.scan_parquet(file) if file.suffix == ".parquet" else pl.scan_csv(file)
        table = rows.select(
            pl.col("prediction_id").cast(pl.String),
            pl.col("label")
            if rows.collect_schema().get("label") == pl.String
            else pl.col("label").cast(pl.Float64),
        ).collect()
    except pl.exceptions.PolarsError as error:
        raise BadRequest(
            f"{file} has no labels: {str(error).partition(chr(10))[0]}",
            remedy="Give the columns prediction_id and label",
        ) from error
    name = deployment.removeprefix("deployment/")
    known = table.drop_nulls()
    with session.homeostat() as homeostat, progress(f"Sending {known.height:,} labels") as tell:
        for first in range(0, known.height, _PART):
            homeostat.label(name, dict(known.slice(first, _PART).iter_rows()))
            tell(f"{min(first + _PART, known.height):,} of {known.height:,}")
    if as_json:
        print_json({"deployment": name, "accepted": known.height})
    else:
        typer.echo(f"Took {known.height:,} labels for deployment/{name}.")


def replay(
    session: Session,
    prediction: Annotated[str, typer.Argument(help="Its id, as 01J… or prediction/01J….")],
    as_json: Json = False,
) -> None:
    """Compute a prediction again, step by step, as of then. Exit status 1: it does not match."""
    with session.homeostat() as homeostat:
        found = homeostat.replay(prediction.removeprefix("prediction/"))
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found.prediction}, answered {moment(found.at)}")
        typer.echo(f"1. request   {', '.join(f'{k}={v}' for k, v in found.request.items())}")
        seen = [f"{view} as of {moment(at) or 'nothing'}" for view, at in found.as_of.items()]
        typer.echo(f"2. features  {len(found.features)}, {'; '.join(seen) or 'from the request alone'}")
        for one in found.differing:
            typer.echo(f"             {one.feature} was {one.logged} and is {one.recomputed} computed anew")
        typer.echo(f"3. model     {found.model}, {found.digest}: every file has its digest")
        answered = "nothing" if found.answered is None else f"{found.answered:.6g}"
        typer.echo(
            f"4. score     {answered} was answered; {found.from_logged:.6g} from the logged features, "
            f"{found.from_recomputed:.6g} from those computed anew"
        )
        typer.echo(found.verdict[0].upper() + found.verdict[1:] + ".")
    if not found.matches:
        raise typer.Exit(1)


def show(found: list[Tried]) -> None:
    """What was tried out, and each test behind it."""
    for one in found:
        between = " and ".join(f"@{version}" for version in one.versions)
        typer.echo(f"{one.ref}: {one.kind} of {between}, {one.state}, since {moment(one.began_at)}")
        if one.reason:
            typer.echo(f"  {one.reason}")
        rows = [
            [e.what, number(e.observed), number(e.allowed), e.count, number(e.peak), number(e.threshold)]
            for e in one.evidence
        ]
        if rows:
            print_table(["watched", "observed", "allowed", "count", "e-value", "decides at"], rows)


def _named(text: str) -> tuple[str, int]:
    name, _, at = text.removeprefix("model/").removeprefix("deployment/").partition("@")
    number = number_of(at or "0")
    if number is None:
        raise BadRequest(f"{text} names no version by its number", remedy=f"Write {name}@4")
    return name, number
