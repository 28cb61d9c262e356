"""Removing for good what was deleted long ago: runs, logged models and experiments, with all that belongs to them.

What a registered version comes from stays, and so does the experiment of whatever stays. Files go with what owns
them; their bytes are freed by ``homeostat.app.garbage``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec

from homeostat.app.artifacts import remove_in
from homeostat.app.container import Container
from homeostat.app.garbage import Freed, each, free, kinds
from homeostat.app.tracing.reading import remove_traces
from homeostat.app.tracking.experiments import NUMBERS
from homeostat.domain.events import Event
from homeostat.domain.records import Cursor, ModelVersion, Record, Run
from homeostat.domain.traces import Trace
from homeostat.domain.tracking import (
    ArtifactFile,
    Experiment,
    ExperimentTag,
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
    RunModel,
)
from homeostat.engine.tracking.places import SCHEME, clean, here, owner_of, place_of, run_root
from homeostat.ports.meta import Transaction

_DELETED: Final[tuple[type[Record], ...]] = (Run, LoggedModel, Experiment)
_OF_MODELS: Final[tuple[type[Record], ...]] = (LoggedModelTag, LoggedModelParam, LoggedModelMetric, RunModel)


class Kept(msgspec.Struct, frozen=True):
    """Something deleted that stays all the same, and why."""

    ref: str
    reason: str


class Collected(msgspec.Struct, frozen=True):
    """What was removed, or would be.

    ``elsewhere`` are places of files that this server does not keep; ``recent`` is how many runs, logged models and
    experiments were deleted too lately to go.
    """

    deleted: bool
    runs: list[str]
    models: list[str]
    experiments: list[str]
    kept: list[Kept]
    elsewhere: list[str]
    recent: int
    freed: Freed


@dataclass
class _Doomed:
    """What is to go, by id, and under which paths its files are."""

    runs: dict[str, Run] = field(default_factory=dict)
    models: dict[str, LoggedModel] = field(default_factory=dict)
    experiments: dict[int, Experiment] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def has(self, record: Record) -> bool:
        """Whether a record would be gone."""
        if isinstance(record, ArtifactFile):
            names = f"{record.root}/{record.path}".split("/")
            return any("/".join(names[:count]) in self.paths for count in range(1, len(names)))
        return isinstance(record, Run) and record.id in self.runs


def collect(container: Container, older_than: timedelta, *, delete: bool, actor: str = "user") -> Collected:
    """Remove what was deleted more than ``older_than`` ago, and free the bytes that nothing refers to then.

    Args:
        container: The ports.
        older_than: How long ago it must have been deleted.
        delete: Whether to do it, or only to say what would be done.
        actor: Who asked.
    """
    before = container.clock.now() - older_than
    doomed = _find(container, before)
    if delete:
        for run in doomed.runs.values():
            _purge_run(container, run, actor)
        for model in doomed.models.values():
            _purge_model(container, model, before, actor)
        for experiment in doomed.experiments.values():
            _purge_experiment(container, experiment, actor)
    return Collected(
        deleted=delete,
        runs=list(doomed.runs),
        models=list(doomed.models),
        experiments=[f"{id} {experiment.name}" for id, experiment in doomed.experiments.items()],
        kept=doomed.kept,
        elsewhere=sorted(doomed.elsewhere),
        recent=sum(container.store.count(kind, ("deleted_at", ">=", before)) for kind in _DELETED),
        freed=free(container, delete=delete, gone=doomed.has),
    )


def _find(container: Container, before: datetime) -> _Doomed:
    store, doomed = container.store, _Doomed()
    experiments = {one.id: one for one in store.find(Experiment, ("deleted_at", "<", before))}
    needed = dict(_needed(container))
    staying: dict[int, str] = {}
    runs = store.find(Run, ("deleted_at", "<", before))
    models = store.find(LoggedModel, ("deleted_at", "<", before))
    for some in _parts(list(experiments)):
        runs += store.find(Run, ("experiment", "in", some))
        models += store.find(LoggedModel, ("experiment", "in", some))
    for run in {run.id: run for run in runs}.values():
        ref = f"run/{run.id}"
        if run.deleted_at is None:
            staying[run.experiment] = f"{ref} in it is not deleted"
        elif run.kind == "train" and run.state in ("queued", "running"):
            doomed.kept.append(Kept(ref, f"it is {run.state}"))
        elif ref in needed:
            doomed.kept.append(Kept(ref, f"{needed[ref]} comes from it"))
        else:
            doomed.runs[run.id] = run
            continue
        staying.setdefault(run.experiment, f"{ref} in it stays")
    for model in {model.id: model for model in models}.values():
        ref = f"logged-model/{model.id}"
        if ref in needed:
            doomed.kept.append(Kept(ref, f"{needed[ref]} comes from it"))
            staying.setdefault(model.experiment, f"{ref} in it stays")
        else:
            doomed.models[model.id] = model
    for id, experiment in experiments.items():
        if id in staying:
            doomed.kept.append(Kept(f"experiment/{id}", staying[id]))
        else:
            doomed.experiments[id] = experiment
    _places(container, doomed)
    return doomed


def _needed(container: Container) -> Iterator[tuple[str, str]]:
    """Runs and logged models that a registered version comes from, and one of these versions of each."""
    for version in each(container.store, ModelVersion):
        by = f"model/{version.model}@{version.version}"
        if version.run:
            yield f"run/{version.run}", by
        if version.logged_model:
            yield f"logged-model/{version.logged_model}", by
        for uri in (version.source, version.location):
            scheme, _, rest = uri.partition(":/")
            name = rest.partition("/")[0]
            if scheme == "runs":
                yield f"run/{name}", by
            elif scheme == "models":
                yield f"logged-model/{name}", by
            elif path := here(uri):
                yield owner_of(place_of(path).root), by


def _places(container: Container, doomed: _Doomed) -> None:
    wanted = {run.experiment for run in doomed.runs.values()}
    found: dict[int, Experiment] = {}
    for some in _parts(list(wanted)):
        found |= {one.id: one for one in container.store.find(Experiment, ("id", "in", some))}
    uris = [
        run_root(found[run.experiment].artifacts, id)
        for id, run in doomed.runs.items()
        if run.experiment in found
    ]
    uris += [model.artifacts for model in doomed.models.values()]
    uris += [experiment.artifacts for experiment in doomed.experiments.values() if _own(experiment)]
    for uri in uris:
        if path := here(uri):
            doomed.paths.add(path)
        else:
            doomed.elsewhere.append(uri)


def _purge_run(container: Container, known: Run, actor: str) -> None:
    with container.store.begin() as tx:
        run = tx.lock(Run, known.id)
        experiment = tx.get(Experiment, known.experiment)
        if run is None or run.deleted_at != known.deleted_at:  # it was brought back meanwhile
            return
        for kind in kinds():
            if kind.KEY[0] == "run":
                tx.delete(kind, ("run", "=", run.id))
        tx.delete(Run, ("id", "=", run.id))
        if experiment is not None:
            _remove_files(container, tx, run_root(experiment.artifacts, run.id), actor)
        body = {"experiment": run.experiment, "name": run.name}
        _tell(container, tx, "run.purged", f"run/{run.id}", actor, body)


def _purge_model(container: Container, known: LoggedModel, before: datetime, actor: str) -> None:
    with container.store.begin() as tx:
        # A model that is in a deleted experiment is not marked itself.
        experiment = tx.lock(Experiment, known.experiment)
        model = tx.lock(LoggedModel, known.id)
        marks = [one.deleted_at for one in (model, experiment) if one is not None and one.deleted_at]
        if model is None or not any(mark < before for mark in marks):
            return
        for kind in _OF_MODELS:
            tx.delete(kind, ("model", "=", model.id))
        tx.delete(LoggedModel, ("id", "=", model.id))
        _remove_files(container, tx, model.artifacts, actor)
        body = {"experiment": model.experiment, "name": model.name}
        _tell(container, tx, "logged-model.purged", f"logged-model/{model.id}", actor, body)


def _purge_experiment(container: Container, known: Experiment, actor: str) -> None:
    with container.store.begin() as tx:
        experiment = tx.lock(Experiment, known.id)
        if (
            experiment is None
            or experiment.deleted_at != known.deleted_at
            or tx.count(Run, ("experiment", "=", known.id))
            or tx.count(LoggedModel, ("experiment", "=", known.id))
        ):
            return
        traces = [one.id for one in tx.find(Trace, ("experiment", "=", known.id))]
        remove_traces(container, tx, experiment, traces, actor)
        tx.delete(ExperimentTag, ("experiment", "=", known.id))
        tx.delete(Experiment, ("id", "=", known.id))
        last = tx.get(Cursor, NUMBERS)
        tx.put(Cursor(name=NUMBERS, seq=max(known.id, last.seq if last else 0)))
        if _own(experiment):
            _remove_files(container, tx, experiment.artifacts, actor)
        _tell(container, tx, "experiment.purged", f"experiment/{known.id}", actor, {"name": known.name})


def _own(experiment: Experiment) -> bool:
    """Whether its files are where no other experiment's are."""
    return experiment.artifacts == f"{SCHEME}:/{experiment.id}"


def _remove_files(container: Container, tx: Transaction, uri: str, actor: str) -> None:
    if path := here(uri):
        remove_in(container, tx, clean(path), actor=actor)


def _parts(ids: list[int]) -> Iterator[list[int]]:
    return (ids[start : start + 500] for start in range(0, len(ids), 500))


def _tell(
    container: Container, tx: Transaction, kind: str, subject: str, actor: str, body: dict[str, object]
) -> None:
    tx.append(Event(kind=kind, subject=subject, at=container.clock.now(), actor=actor, body=body))
