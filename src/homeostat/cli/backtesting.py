"""``backtest``: what retraining policies would have done over history, and what that would have cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, console, number, print_json, print_table
from homeostat.cli.session import Session
from homeostat.domain.times import parse_time

if TYPE_CHECKING:
    from homeostat.app.backtest.policies import Policy
    from homeostat.app.backtest.results import Result

_TOLD: Final = 0.1  # of the whole, between two lines where there is no terminal


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "backtest", settings=("home", "store"))(backtest)


def backtest(
    session: Session,
    project: Annotated[
        Path, typer.Argument(metavar="PROJECT", help="The project's folder or file.")
    ] = Path(),
    begin: Annotated[
        str,
        typer.Option(
            "--from", metavar="YYYY-MM-DD", help="Train the first model here, and answer from here on."
        ),
    ] = "",
    end: Annotated[str, typer.Option("--to", metavar="YYYY-MM-DD", help="Answer nothing from here on.")] = "",
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            "--policy",
            metavar="FILE.py",
            help="A file that gives retrain = hs.when(…); repeatable. Without: what the project declares.",
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--beside",
            metavar="NAME",
            help="What to compare with: frozen, every:30d, ADWIN, DDM, oracle; "
            "repeatable. Default: frozen, every:30d, and of binary tasks ADWIN and DDM where river is installed.",
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--change",
            metavar="WHEN",
            help="When the world is known to have changed: the oracle trains then; repeatable.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Which model, where there are several.")
    ] = "",
    step: Annotated[
        str,
        typer.Option(
            "--step", metavar="DURATION", help="Time between two looks. Default: the model's check_every."
        ),
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Rows as DATASET.parquet or DATASET.csv; the rest is the store's."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Write a chart and the table.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", metavar="N", help="Policies at once. Default: as there are processors.", min=0
        ),
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin again, rather than go on where it was interrupted.")
    ] = False,
    json: Json = False,
) -> None:
    """Replay history under retraining policies: quality over time, trainings, pages and cost of each."""
    from homeostat.app.backtest.history import files_in
    from homeostat.app.backtest.page import page
    from homeostat.app.backtest.plan import read_plan
    from homeostat.app.backtest.running import model_of, prepare, run
    from homeostat.app.projects import load_project
    from homeostat.domain.durations import parse_duration

    declared = load_project(project)
    with session.container() as container:
        folder = prepare(
            container,
            declared,
            _policies(
                policy or [],
                beside,
                [parse_time(one, field="--change") for one in change or []],
                step or "1d",
                model_of(declared, model).task.type,
            ),
            start=parse_time(begin, field="--from"),
            end=parse_time(end, field="--to"),
            model=model,
            step=parse_duration(step) if step else None,
            data=files_in(data) if data else None,
            fresh=fresh,
        )
        with _progress() as told:
            results = run(container, folder, told, processes=processes)
        if html:
            html.write_text(page(read_plan(folder), results), "utf-8")
    if json:
        print_json(results)
    else:
        _show(results)
        if html:
            typer.echo(f"Chart: {html.absolute()}", err=True)


def _policies(
    files: list[Path], names: list[str] | None, changes: list[datetime], step: str, task: str
) -> list[Policy]:
    from importlib.util import find_spec

    from homeostat.app.backtest.policies import DECLARED, DETECTORS, beside, read_policy

    if names is None:
        names = ["frozen", "every:30d", *(DETECTORS if task == "binary" and find_spec("river") else [])]
        names += ["oracle"] if changes else []
    return [
        *([read_policy(file) for file in files] or [DECLARED]),
        *(beside(name, step, tuple(changes)) for name in names),
    ]


@contextmanager
def _progress() -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A bar for each policy on a terminal, else a line now and then; on stderr."""
    if not sys.stderr.isatty():
        said = [0.0]

        def tell(shares: Mapping[str, float]) -> None:
            whole = sum(shares.values()) / len(shares)
            if whole - said[0] >= _TOLD:
                said[0] = whole
                typer.echo(f"{whole:.0%} replayed", err=True)

        yield tell
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    with Progress(*columns, TimeRemainingColumn(), console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, object] = {}

        def show(shares: Mapping[str, float]) -> None:
            for name, share in shares.items():
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=1.0)
                bars.update(tasks[name], completed=share)  # type: ignore[arg-type] # what add_task gave

        yield show


def _show(results: list[Result]) -> None:
    shown = results[0].shown
    columns = (
        "policy",
        "labelled",
        *(name.replace("_", " ") for name in shown),
        "trainings",
        "promoted",
        "pages",
        "tickets",
        "CPU s",
    )
    print_table(
        columns,
        [
            (
                one.policy,
                one.labelled,
                *(number(one.metrics.get(name)) for name in shown),
                len(one.retrained),
                sum(made.outcome == "promoted" for made in one.retrained),
                one.pages,
                one.tickets,
                f"{one.seconds:.1f}",
            )
            for one in results
        ],
    )
