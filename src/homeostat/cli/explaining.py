"""``explain``: what the features of a prediction, or of many, add to the answer."""

from __future__ import annotations

from typing import Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, number, print_json, print_table, progress, said
from homeostat.cli.session import Session


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "explain", settings=("home", "server"))(explain)


def explain(
    session: Session,
    of: Annotated[
        str,
        typer.Argument(metavar="PREDICTION|MODEL", help="A prediction, as 01J…, or a model, as model/churn."),
    ],
    window: Annotated[str, typer.Option(help="Of a model: over the newest of its requests, as 7d.")] = "7d",
    budget: Annotated[
        int, typer.Option(help="Rows that the model may be asked with, where contributions are not exact.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Show what each feature adds to an answer, or how much features matter over many (Shapley values)."""
    with session.homeostat() as homeostat, progress("Explaining"):
        if of.startswith(("model/", "deployment/")):
            many = homeostat.importance(of.partition("/")[2], window=window, budget=budget or 20_000)
            one = None
        else:
            one = homeostat.explain(of.removeprefix("prediction/"), budget=budget or 2_000)
    if as_json:
        print_json(many if one is None else one)
    elif one is None:
        print_table(
            ["feature", "mean absolute contribution"],
            [[name, number(value)] for name, value in many.features.items()],
            title=f"{many.model}, {many.rows} requests of the newest {many.window}, in {many.unit}",
        )
        typer.echo(f"{many.method}, against {many.against}.")
    else:
        print_table(
            ["feature", "value", "adds", "standard error"],
            [
                [each.feature, said(each.value), f"{each.contribution:+.4g}", number(each.error)]
                for each in one.contributions
            ],
            title=f"{one.prediction}, answered {number(one.answered)} by {one.model} {moment(one.at)}",
        )
        typer.echo(
            f"From {one.base:.4g} to {one.explained:.4g} ({one.unit}); {one.method}, against {one.against}."
        )
