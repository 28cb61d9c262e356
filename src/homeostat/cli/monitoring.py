"""``monitor``: what came in a span of time beside what training saw, as a page and as JSON."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, json_text, number, print_json, print_table, progress, said
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest
from homeostat.domain.refs import number_of
from homeostat.domain.times import parse_time

_WEEK = timedelta(days=7)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    monitor = typer.Typer(help="What is watched: any span of time, told whole.", no_args_is_help=True)
    monitor.callback()(_about)
    command(monitor, "report", settings=("home", "store", "blobs"))(report)
    command(monitor, "outliers", settings=("home", "store", "blobs"))(outliers)
    app.add_typer(monitor, name="monitor")


def _about() -> None:
    """What is watched: any span of time, told whole."""


def outliers(
    session: Session,
    model: Annotated[str, typer.Argument(help="Its name.")],
    window: Annotated[str, typer.Option(help="Over the newest of its requests, as 7d.")] = "7d",
    limit: Annotated[int, typer.Option(help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the requests that are the least like training, to review: prediction ids, with what is odd about each."""
    from homeostat.app.outlying import to_review

    with session.container() as container, progress("Comparing"):
        found = to_review(container, model.removeprefix("model/"), window=window, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo(f"The version that serves answered nothing in the newest {window}.")
        return
    print_table(
        ["prediction", "answered", "unlike training", "because"],
        [
            [
                one.prediction,
                number(one.answered),
                f"{one.score:.1f} nats",
                ", ".join(
                    f"{odd.feature} = {said(odd.value)} (as far out: {odd.share:.2%})" for odd in one.why
                ),
            ]
            for one in found
        ],
    )


def report(
    session: Session,
    model: Annotated[str, typer.Argument(help="Its name, or name@version for that version's training data.")],
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="As 2024-05-01 or 2024-05-01T12:00, in UTC.")
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="By default now; a week in all.")] = "",
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare with a whylogs profile or TFDV statistics instead."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write the page.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a report of a span of time: every feature beside its training data, evidence, monitors and alerts."""
    from homeostat.app.reporting.foreign import foreign
    from homeostat.app.reporting.page import page
    from homeostat.app.reporting.report import report as made

    name, _, version = model.removeprefix("model/").partition("@")
    number = number_of(version) if version else None
    if version and number is None:
        raise BadRequest(f"{model!r} names no version", remedy=f"Write {name}@1")
    known = None if against is None else (against.name, foreign(against))
    with session.container() as container, progress("Comparing"):
        until = parse_time(end) if end else container.clock.now()
        since = parse_time(begin) if begin else until - _WEEK
        if since >= until:
            raise BadRequest(f"from {since} to {until} is no time", remedy="Let --from be before --to")
        found = made(container, name, since, until, version=number, against=known)
    if as_json:
        typer.echo(json_text(found))
    if output is None and not as_json:
        output = Path(f"{name}-report.html")
    if output is not None:
        output.write_text(page(found), "utf-8")
    if not as_json:
        moved = [one for one in found.features if one.sizes.excess]
        print_table(
            ["feature", "PSI beyond chance", "Jensen-Shannon"],
            [[one.name, f"{one.sizes.excess:.4f}", f"{one.sizes.distance:.4f}"] for one in moved[:10]],
            title=f"{len(moved)} of {len(found.features)} features are farther from {found.against} than chance takes "
            f"{found.rows:,} rows",
        )
        typer.echo(f"Wrote {output}")
