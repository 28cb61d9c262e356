"""``runs``: find, show, compare, export and delete what was tracked."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, number, print_json, print_table, progress
from homeostat.cli.runfiles import files
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest

if TYPE_CHECKING:
    import polars as pl

    from homeostat.app.tracking.curves import Points
    from homeostat.app.tracking.summaries import RunSummary
    from homeostat.app.tracking.values import LoggedValue
    from homeostat.sdk.tracking.reading import Runs

_SETTINGS: Final = ("home", "server", "store")
_FILTER: Final = "metrics.loss < 0.3 AND params.model = 'tree'"
_SHOWN: Final = 4  # metrics and parameters in a list
_TIES: Final = 20

Filter = Annotated[str, typer.Option("--filter", "-f", metavar="FILTER", help=f'As in "{_FILTER}".')]
Experiments = Annotated[
    list[str] | None,
    typer.Option("--experiment", "-e", metavar="NAME", help="Only of this one; may be given again."),
]
Order = Annotated[
    list[str] | None,
    typer.Option("--order-by", "-o", metavar="TERM", help="As in 'metrics.loss DESC'; may be given again."),
]
RunIds = Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids, or the beginnings of them.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or the beginning of it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    runs = typer.Typer(help="Find, show, compare, export and delete tracked runs.", no_args_is_help=True)
    command(runs, "ls", settings=_SETTINGS)(ls)
    command(runs, "show", settings=_SETTINGS)(show)
    command(runs, "files", settings=_SETTINGS)(files)
    command(runs, "diff", settings=_SETTINGS)(diff)
    command(runs, "best", settings=_SETTINGS)(best)
    command(runs, "export", settings=_SETTINGS)(export)
    command(runs, "delete", settings=_SETTINGS)(delete)
    command(runs, "restore", settings=_SETTINGS)(restore)
    app.add_typer(runs, name="runs")


def ls(
    session: Session,
    filter: Filter = "",
    experiment: Experiments = None,
    order_by: Order = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    deleted: Annotated[bool, typer.Option(help="Those that are deleted.")] = False,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from homeostat.sdk.tracking.search import all_of

    view: Any = "deleted" if deleted else "active"
    with _runs(session) as runs:
        found = all_of(runs, filter, experiment or [], order_by or [], view, limit)
    if as_json:
        print_json(found)
        return
    if not found:
        if filter or experiment or deleted:
            typer.echo("No run is like that; homeostat runs ls without options lists the newest.")
        else:
            typer.echo("No run is found. Track one: with hs.run('my-experiment'): hs.log(loss=0.3)")
        return
    metrics = _telling([run.metrics for run in found])
    params = _telling([run.params for run in found], alike=len(found) == 1)
    rows = [
        [
            run.id[:8],
            run.name,
            run.experiment,
            run.state,
            moment(run.started_at),
            *(_measured(run, name) for name in metrics),
            *(run.params.get(name, "")[:30] for name in params),
        ]
        for run in found
    ]
    print_table(["run", "name", "experiment", "state", "began", *metrics, *params], rows)


def show(
    session: Session,
    run: RunId,
    value: Annotated[
        str, typer.Option("--value", metavar="NAME", help="All of one image, table, text or the like.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show a run and all that was logged to it."""
    with _runs(session) as runs:
        found = runs.summary(run.removeprefix("run/"))
        values = runs.values(found.id, value)
    if value:
        _show_value(found, values[0], as_json)
        return
    if as_json:
        from msgspec.structs import asdict

        print_json(asdict(found) | {"values": values})
        return
    took = "" if found.seconds is None else f", {found.seconds:,.1f} s"
    typer.echo(f"run/{found.id} {found.name!r} of {found.experiment}: {found.state}{took}")
    typer.echo(f"began {moment(found.started_at)} UTC by {found.actor or 'nobody named'}")
    if found.parent:
        typer.echo(f"inside run/{found.parent}")
    if found.error:
        typer.echo(f"error: {found.error}")
    if found.deleted:
        typer.echo(f"deleted; homeostat runs restore {found.id[:8]} brings it back")
    for name, rows in (
        ("parameter", list(found.params.items())),
        ("metric", [(_against(key, found), _measured(found, key)) for key in found.metrics]),
        ("value", [(one.key, _counted(one)) for one in values]),
        ("tag", list(found.tags.items())),
        ("input", [(source, "") for source in found.inputs]),
        ("model", [(id, "read" if role == "input" else "made") for id, role in found.models.items()]),
    ):
        if rows:
            typer.echo()
            print_table([name, "value"] if name not in ("input", "value", "model") else [name, ""], rows)


def _show_value(run: RunSummary, value: LoggedValue, as_json: bool) -> None:
    from homeostat.engine.tracking.shown import rows_of

    if as_json:
        print_json(value)
        return
    typer.echo(f"{value.key} at step {value.step}: {_counted(value)}")
    if value.type == "text":
        typer.echo(f"\n{value.detail.get('text', '')}")
    columns, rows = rows_of(value.type, value.detail)
    if columns:
        typer.echo()
        print_table(columns, rows)
    if value.file:
        named = [run.id[:8], value.file, "--out", Path(value.file).name]
        typer.echo(f"It is a file: homeostat runs files {shlex.join(named)}")


def diff(
    session: Session,
    first: RunId,
    second: RunId,
    everything: Annotated[bool, typer.Option("--all", help="Also tags and samples of the machine.")] = False,
    as_json: Json = False,
) -> None:
    """Show in what two runs differ."""
    from homeostat.engine.tracking.compare import differences

    with _runs(session) as runs:
        a, b = (runs.summary(id.removeprefix("run/")) for id in (first, second))
    found = [
        *differences("run", _what(a), _what(b)),
        *differences("param", a.params, b.params),
        *differences("metric", _metrics(a, everything), _metrics(b, everything)),
        *differences("input", dict.fromkeys(a.inputs, "read"), dict.fromkeys(b.inputs, "read")),
        *(differences("tag", a.tags, b.tags) if everything else []),
    ]
    if as_json:
        print_json({"a": a.id, "b": b.id, "differences": found})
    elif not found:
        typer.echo("They do not differ.")
    else:
        rows = [[one.kind, one.name, _shown(one.a), _shown(one.b)] for one in found]
        print_table(["", "name", a.name or a.id[:8], b.name or b.id[:8]], rows)


def best(
    session: Session,
    metric: Annotated[str, typer.Argument(help="The metric.")],
    goal: Annotated[Literal["min", "max"], typer.Option(help="Which is better.")] = "min",
    filter: Annotated[
        str, typer.Option("--filter", "-f", metavar="FILTER", help=f'A condition, as in "{_FILTER}".')
    ] = "",
    experiment: Experiments = None,
    as_json: Json = False,
) -> None:
    """Find the run with the best latest value of a metric, and say how it came to be that."""
    with _runs(session) as runs:
        found = runs.best(metric, goal=goal, filter=filter, experiments=experiment or [])
    if as_json:
        print_json(found)
        return
    typer.echo(found.explanation)
    if found.ties:
        rest = f", and {len(found.ties) - _TIES:,} more" if len(found.ties) > _TIES else ""
        typer.echo(f"The others: {', '.join(f'run/{id}' for id in found.ties[:_TIES])}{rest}")
    if found.run.params:
        typer.echo()
        print_table(["parameter", "value"], list(found.run.params.items()))


def export(
    session: Session,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet, .csv or .json file.")],
    filter: Filter = "",
    experiment: Experiments = None,
    order_by: Order = None,
    points: Annotated[bool, typer.Option("--points", help="Every point of every metric, not runs.")] = False,
) -> None:
    """Write runs, or their points, to a file."""
    from homeostat.sdk.tracking.search import all_of, frame

    write = _writer(to)
    with _runs(session) as runs, progress(f"Reading runs for {to}") as tell:
        found = all_of(runs, filter, experiment or [], order_by or [], "active", None)
        table = _points(runs, found, tell) if points else frame(found)
    write(table)
    typer.echo(f"Wrote {table.height:,} {'points' if points else 'runs'} to {to}")


def delete(session: Session, ids: RunIds) -> None:
    """Delete runs. They can be restored until homeostat gc removes them."""
    with _runs(session) as runs:
        for found in [runs.summary(id.removeprefix("run/")) for id in ids]:
            runs.delete(found.id)
            typer.echo(
                f"Deleted run/{found.id} {found.name!r}; homeostat runs restore {found.id[:8]} brings it back."
            )


def restore(session: Session, ids: RunIds) -> None:
    """Take the deletion of runs back."""
    with _runs(session) as runs:
        for found in [runs.summary(id.removeprefix("run/")) for id in ids]:
            runs.restore(found.id)
            typer.echo(f"Restored run/{found.id} {found.name!r}.")


@contextmanager
def _runs(session: Session) -> Iterator[Runs]:
    from homeostat.sdk.tracking.reading import runs

    with runs(session.settings, server=session.server) as found:
        yield found


def _telling(values: list[dict[str, Any]], *, alike: bool = True) -> list[str]:
    """The names that tell most: of what most runs have, first of what differs; with ``alike`` also of what does not."""
    texts: dict[str, list[str]] = {}
    for one in values:
        for name, value in one.items():
            if not name.startswith("system/"):
                texts.setdefault(name, []).append(str(value))

    def rank(name: str) -> tuple[bool, int, str]:
        return len(set(texts[name])) == 1, -len(texts[name]), name

    return [name for name in sorted(texts, key=rank) if alike or len(set(texts[name])) > 1][:_SHOWN]


def _what(run: RunSummary) -> dict[str, Any]:
    tags = run.tags
    return {
        "experiment": run.experiment,
        "state": run.state,
        "error": run.error,
        "actor": run.actor,
        "commit": tags.get("mlflow.source.git.commit", ""),
        "uncommitted changes": tags.get("homeostat.git.dirty", ""),
        "command": tags.get("homeostat.command", ""),
        "environment": tags.get("homeostat.environment", ""),
    }


def _measured(run: RunSummary, name: str) -> str:
    """The latest value of a metric; nothing where there is none, which NaN is not."""
    if name not in run.metrics:
        return ""
    value = run.metrics[name]
    return "NaN" if value is None else number(value)


def _metrics(run: RunSummary, everything: bool) -> dict[str, Any]:
    return {name: v for name, v in run.metrics.items() if everything or not name.startswith("system/")}


def _against(metric: str, run: RunSummary) -> str:
    axis = run.axes.get(metric)
    return f"{metric} (by {axis})" if axis else metric


def _counted(value: LoggedValue) -> str:
    return value.told if value.count == 1 else f"{value.told} (the latest of {value.count:,})"


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, float) else "" if value is None else str(value)


def _writer(to: Path) -> Any:
    def parquet(table: pl.DataFrame) -> None:
        table.write_parquet(to)

    def csv(table: pl.DataFrame) -> None:
        table.write_csv(to)

    def json(table: pl.DataFrame) -> None:
        table.write_json(to)

    found = {".parquet": parquet, ".csv": csv, ".json": json}.get(to.suffix)
    if found is None:
        raise BadRequest(f"{to} has no known form", field="to", remedy="Name a .parquet, .csv or .json file")
    return found


def _points(runs: Runs, found: list[RunSummary], tell: Any) -> pl.DataFrame:
    import polars as pl

    text, whole, number = pl.String(), pl.Int64(), pl.Float64()
    points = {"timestamp": whole, "step": whole, "value": number, "at": number}
    schema = {"run": text, "metric": text, **points, "axis": text}
    parts = []
    for done, run in enumerate(found, 1):
        if sys.stderr.isatty() or done * 10 // len(found) > (done - 1) * 10 // len(found):
            tell(f"{done:,} of {len(found):,} runs")
        for key, read in _all_points(runs, run.id):
            part = pl.DataFrame({name: getattr(read, name) for name in points}, schema=points)
            named = {"run": run.id, "metric": key, "axis": read.axis}
            parts.append(part.with_columns(pl.lit(value).alias(name) for name, value in named.items()))
    return pl.concat(parts).select(*schema) if parts else pl.DataFrame(schema=schema)


def _all_points(runs: Runs, id: str) -> Iterator[tuple[str, Points]]:
    heap = runs.all_points(id)
    yield from heap.metrics.items()
    while heap.last:
        heap = runs.all_points(id, heap.last)
        yield from heap.metrics.items()
