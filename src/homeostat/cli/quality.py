"""``quality``: how good a model's answers are, on the labels that have come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, number, print_json, print_table
from homeostat.cli.session import Session

if TYPE_CHECKING:
    from homeostat.engine.monitoring.inputs import Inputs
    from homeostat.engine.monitoring.quality import Group, Quality


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "quality", settings=("home", "server"))(quality)


def quality(
    session: Session,
    model: Annotated[str, typer.Argument(help="Its name.")],
    window: Annotated[str, typer.Option(help="Over the newest of its requests, as 7d.")] = "7d",
    as_json: Json = False,
) -> None:
    """Show metrics with intervals, how long labels take, calibration, and slices that are worse than the rest."""
    name = model.partition("/")[2] or model
    with session.homeostat() as homeostat:
        found = homeostat.quality(name, window=window)
    if as_json:
        print_json(found)
        return
    _show(found, f"model/{name}, the newest {window}")


def _show(found: Quality, title: str) -> None:
    asked = found.labelled + found.unlabelled
    sample = f", one in {found.one_in} looked at" if found.one_in > 1 else ""
    rows: list[list[Any]] = []
    for metric, value in found.metrics.items():
        interval = found.intervals.get(metric)
        rows.append([metric, number(value), f"{interval.low:.4g} to {interval.high:.4g}" if interval else ""])
    print_table(
        ["metric", "value", "95% interval"],
        rows,
        title=f"{title}: {found.labelled:,} of {asked:,} answered requests have a label{sample}",
    )
    if found.estimates:
        print_table(
            ["estimated", "value", "by", "requests", "off by", "labelled"],
            [
                [
                    f"estimated {name}",
                    number(one.value),
                    one.method,
                    one.rows,
                    number(one.error),
                    one.labelled,
                ]
                for name, one in found.estimates.items()
            ],
        )
    if found.delays is not None:
        times = {"half": found.delays.p50, "nine tenths": found.delays.p90}
        told = [f"{which} within {_span(seconds)}" for which, seconds in times.items() if seconds is not None]
        typer.echo(f"Labels come {', '.join(told) or 'too slowly to say how long they take'}.\n")
    if found.reliability:
        print_table(
            ["predicted", "observed", "95% interval", "rows"],
            [
                [
                    number(b["predicted"]),
                    number(b["observed"]),
                    f"{b['low']:.3f} to {b['high']:.3f}",
                    int(b["count"]),
                ]
                for b in found.reliability
            ],
            title="Calibration",
        )
    for column, values in found.groups.items():
        metrics = [one for one in found.metrics if any(one in of.metrics for of in values.values())][:3]
        print_table(
            [column, "rows", *metrics],
            [[value, of.rows, *(_with_interval(of, one) for one in metrics)] for value, of in values.items()],
        )
    if found.worst:
        print_table(
            ["worse where", "rows", "mean loss", "elsewhere", "effect"],
            [[s.where, s.rows, number(s.loss), number(s.elsewhere), f"{s.effect:.2f}"] for s in found.worst],
        )
    elif found.labelled:
        typer.echo("No slice is worse than the rest for sure.")
    for one in found.fairness.compared if found.fairness is not None else []:
        print_table(
            [one.column, one.rate, "rows"],
            [[group, number(value), one.rows[group]] for group, value in one.groups.items()],
            title=f"{one.rate} by {one.column}: disparity {number(one.disparity) or 'not known'}",
        )
    if found.inputs is not None:
        _show_inputs(found.inputs)


def _with_interval(of: Group, metric: str) -> str:
    interval = of.intervals.get(metric)
    return f"{number(of.metrics.get(metric))}" + (
        f" ({interval.low:.4g} to {interval.high:.4g})" if interval else ""
    )


def _show_inputs(found: Inputs) -> None:
    typer.echo(
        f"\n{found.rows:,} requests, {found.before:,} in as long a time before; "
        f"{found.repeated:.1%} ask the same again."
    )
    for view, age in found.ages.items():
        if age.p50 is not None and age.p99 is not None:
            typer.echo(
                f"{view}: half of its features within {_span(age.p50)}, 99 of 100 within {_span(age.p99)}."
            )
    if found.skew is not None:
        behind = ", ".join(f"{name} in {count}" for name, count in found.skew.features.items())
        typer.echo(
            f"Computed anew, {found.skew.differing} of {found.skew.sampled} predictions have other features"
            + (f": {behind}." if behind else ".")
        )
    if found.findings:
        print_table(
            ["feature", "now", "of rows", "in training"],
            [[one.feature, one.what, f"{one.share:.1%}", f"{one.usual:.1%}"] for one in found.findings],
        )


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
