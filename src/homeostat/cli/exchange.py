"""``import`` and ``export``: tracked work from other trackers, and to and from other stores of Homeostat."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, console, print_json, print_table
from homeostat.cli.runs import Experiments, Filter
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.app.importing import Note, Progress, Summary

_NOTES: Final = 20
_ALIKE: Final = 3  # notes of one reason that are shown
_MANY: Final = 100  # runs


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "import", settings=("home", "store", "blobs"))(bring)
    command(app, "export", settings=("home", "store", "blobs"))(export)


def bring(
    session: Session,
    source: Annotated[
        str,
        typer.Argument(
            help="An mlruns folder, MLflow's database (sqlite:///… or postgresql://…), a folder of W&B runs or of"
            " TensorBoard logs, or what neptune-exporter or homeostat export wrote.",
            show_default=False,
        ),
    ],
    form: Annotated[
        Literal["homeostat", "mlflow", "wandb", "tensorboard", "neptune"] | None,
        typer.Option("--from", help="Which of these it is, where that cannot be told by looking."),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where files are that lie apart: an MLflow server's, or a Neptune export's."
        ),
    ] = None,
    links: Annotated[
        bool, typer.Option("--links", help="Follow links out of a run's folder; W&B links to what you saved.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would come.")] = False,
    as_json: Json = False,
) -> None:
    """Bring runs, models and files from another tracker. What is here already stays; a second import adds nothing.

    Exit status 1: some of it could not come.
    """
    from homeostat.app.importing import import_tracking

    _check_own(session)
    with session.container() as container:
        reader = container.source(source, form=form or "", files=files, links=links)
        try:
            with _bar(f"{'Looking at' if dry_run else 'Importing'} {source}") as tell:
                done = import_tracking(container, reader, dry_run=dry_run, place=source, tell=tell)
        except KeyboardInterrupt:
            typer.echo("Stopped. What came stays; the same import again brings the rest.", err=True)
            raise
        finally:
            reader.close()
    _show(done, "would come" if dry_run else "came", as_json)


def export(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where to; an older export is brought up to date.")],
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN", help="Only this run: its id, or the beginning of it; may be given again."
        ),
    ] = None,
    experiment: Experiments = None,
    filter: Filter = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Also what is deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Write runs, models and files to a folder, which homeostat import reads again: with the same ids, elsewhere."""
    from homeostat.app.exporting import StoreSource
    from homeostat.app.exporting import export as write
    from homeostat.app.tracking.summaries import experiments_named

    _check_own(session)
    with session.container() as container:
        experiments = list(experiments_named(container, experiment)) if experiment else None
        runs = _runs(container, experiments, run or [], filter, deleted) if run or filter else None
        source = StoreSource(container, experiments=experiments, runs=runs, deleted=deleted)
        with _bar(f"Exporting to {folder}") as tell:
            done = write(source, container.sink(folder), place=str(folder), tell=tell)
    _show(done, "written", as_json)


def _check_own(session: Session) -> None:
    """Refuse a server elsewhere: what comes and goes is read and written on the store itself."""
    from homeostat.app.running import named_server

    if named := named_server(session.settings):
        raise BadRequest(
            f"runs are imported and exported on the store itself, not through {named}",
            remedy="Run this where its home is, or name its store with --store and --blobs",
        )


def _runs(
    container: Container, experiments: list[int] | None, ids: Sequence[str], filter: str, deleted: bool
) -> list[str]:
    """The runs that are meant: by id, and by filter."""
    from homeostat.app.tracking import search_runs
    from homeostat.app.tracking.summaries import summary
    from homeostat.domain.tracking import Experiment

    found = [summary(container, id.removeprefix("run/")).id for id in ids]
    if filter:
        owners = experiments or [known.id for known in container.store.find(Experiment)]
        token = ""
        while True:
            view: Literal["all", "active"] = "all" if deleted else "active"
            page = search_runs(container, owners, filter, view=view, token=token)
            found += [known.id for known in page.items]
            if not (token := page.token):
                break
    return list(dict.fromkeys(found))


@contextmanager
def _bar(what: str) -> Iterator[Callable[[Progress], None]]:
    """A bar of runs on a terminal; where there are many, a line each tenth elsewhere."""
    if not sys.stderr.isatty():
        said = [0]

        def say(progress: Progress) -> None:
            tenth = progress.done * 10 // progress.total if progress.total >= _MANY else 0
            if tenth > said[0]:
                said[0] = tenth
                typer.echo(f"{progress.done:,} of {progress.total:,} runs", err=True)

        yield say
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, TextColumn("{task.fields[next]}"), console=console(stderr=True)) as bar:
        task = bar.add_task(escape(what), total=None, next="")
        yield lambda progress: bar.update(
            task, completed=progress.done, total=progress.total, next=escape(progress.next)
        )


def _show(done: Summary, verb: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        counts = {
            "experiments": done.experiments,
            "runs": done.runs,
            "logged models": done.logged_models,
            "registered models": done.models,
            "model versions": done.versions,
        }
        rows = [[name, count.new, count.completed, count.same] for name, count in counts.items()]
        print_table([done.source, verb, "completed", "here already"], rows)
        typer.echo(f"{done.points:,} points and {done.files:,} files of {done.bytes:,} bytes {verb}.")
        _notes(done)
    if done.failed:
        raise typer.Exit(1)


def _notes(done: Summary) -> None:
    for title, failed in (("Could not come:", True), ("Not, or not as it was:", False)):
        lines = _lines([note for note in done.notes if note.failed is failed])
        if not lines:
            continue
        typer.echo(f"\n{title}")
        for line in lines[:_NOTES]:
            typer.echo(f"  {line}")
        if (rest := len(lines) - _NOTES) > 0:
            typer.echo(f"  … and {rest:,} more; --json shows them")
    if done.more:
        typer.echo(f"\nMore than can be told, and left out: {done.more:,}")


def _lines(notes: list[Note]) -> list[str]:
    """A line a note; where many say the same of different things, the first of them."""
    alike = Counter(note.reason for note in notes)
    told: Counter[str] = Counter()
    lines = []
    for note in notes:
        told[note.reason] += 1
        many = alike[note.reason] > _ALIKE + 1
        if many and told[note.reason] > _ALIKE:
            if told[note.reason] == alike[note.reason]:
                lines.append(f"… and {alike[note.reason] - _ALIKE:,} more: {note.reason}")
            continue
        times = f" ({note.count:,} times)" if note.count > 1 else ""
        lines.append(f"{note.subject}: {note.reason}{times}")
    return lines
