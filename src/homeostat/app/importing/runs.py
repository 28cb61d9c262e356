"""Runs on their way in: a new one in one transaction after its files, one that is here with what it lacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.importing.files import bring_files
from homeostat.app.importing.known import Known
from homeostat.app.importing.naming import Names, kept, others, renamed
from homeostat.app.importing.staging import Staged, rows_of
from homeostat.app.importing.steps import each
from homeostat.app.importing.summary import Summary
from homeostat.app.tracking import run_data
from homeostat.app.tracking.inputs import inputs_in
from homeostat.app.tracking.runs import ENDED, NAME_TAG, locked_run
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.events import Event
from homeostat.domain.records import Run
from homeostat.domain.tracking import Experiment, Metric, MetricBlock, Param, RunInput, RunModel, RunTag
from homeostat.engine.tracking.places import run_root
from homeostat.ports.meta import Transaction
from homeostat.ports.sources import Missing, SourceRun

_ID: Final = re.compile(r"[A-Za-z0-9][\w-]{0,255}")  # what MLflow's clients take for one


@dataclass
class _Lacking:
    """What a run in the store lacks of what the source has."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[RunInput] = field(default_factory=list)
    models: list[RunModel] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def any(self) -> bool:
        """Whether it lacks something."""
        return bool(self.params or self.tags or self.inputs or self.models or self.values)


def bring_run(container: Container, given: SourceRun, experiment: Experiment, summary: Summary) -> None:
    """Bring a run, or what one that is here lacks.

    Raises:
        HomeostatError: the source is damaged there, or the store does not take it; nothing of it is visible then.
    """
    run = msgspec.structs.replace(given.run, experiment=experiment.id, name=kept(given.run.name))
    if not _ID.fullmatch(run.id):
        raise BadRequest(f"{run.id[:80]!r} is no id")
    if run.kind == "train" and run.state not in ENDED:
        raise BadRequest("it is a training that has not ended, which only its own server can end")
    try:
        there = container.store.get(Run, run.id)
        if there is not None and given.spare and _is_another(container, there, given):
            given.missing.append(
                Missing(f"run {run.id}", f"another run has this id: it is {given.spare} here")
            )
            run = msgspec.structs.replace(run, id=given.spare)
            there = container.store.get(Run, run.id)
        if there is None:
            _add(container, given, run, experiment, summary)
        else:
            _complete(container, given, run, there, summary)
    except Conflict:  # another process brought it meanwhile
        there = container.store.get(Run, run.id)
        if there is None:
            raise
        _complete(container, given, run, there, summary)
    finally:
        summary.tell_all(given.missing)


def _is_another(container: Container, there: Run, given: SourceRun) -> bool:
    return _differs(run_data(container, [there.id])[there.id].tags, given)


def _differs(tags: Mapping[str, str], given: SourceRun) -> bool:
    return any(tags.get(key) != value for key, value in given.mark.items())


def _add(container: Container, given: SourceRun, run: Run, experiment: Experiment, summary: Summary) -> None:
    if experiment.deleted_at is not None and run.deleted_at is None:
        raise BadRequest(f"its experiment {experiment.name!r} is deleted here: restore it, and import again")
    params, tags = _texts(given, run)
    names = Names("metric")
    with Staged(run.id, experiment.id, names) as staged:
        staged.take(each(given.points()))
        latest = staged.latest()
        given.missing.extend([*names.missing, *staged.missing])
        # Files first: where the run is, all of it is.
        bring_files(container, run_root(experiment.artifacts, run.id), given.files, summary, f"run {run.id}")
        if not summary.dry_run:
            with container.store.begin() as tx:
                tx.insert(run)
                _log(container, tx, run, params, tags, given.inputs, given.models)
                tx.insert(*latest)
                for block in staged.blocks(0):
                    tx.insert(block)
                _tell(container, tx, run, "imported", summary)
        summary.points += staged.count
    summary.runs.add("new")


def _complete(container: Container, given: SourceRun, run: Run, there: Run, summary: Summary) -> None:
    data = run_data(container, [there.id])[there.id]
    if _differs(data.tags, given):
        raise BadRequest("another run has this id here")
    if there.deleted_at is not None:  # by whoever did not want it, or it came deleted
        if run.deleted_at is None:
            given.missing.append(Missing(f"run {there.id}", "it is deleted here, and stays so"))
        summary.runs.add("same")
        return
    params, tags = _texts(given, run)
    told = [*others(params, data.params, "parameter"), *others(tags, data.tags, "tag")]
    if run.deleted_at is not None:
        told.append("it is deleted in the source, and stays here")
    given.missing.extend(Missing(f"run {there.id}", reason) for reason in told)
    lacking = _Lacking(
        params={key: value for key, value in params.items() if key not in data.params},
        tags={key: value for key, value in tags.items() if key not in data.tags},
        inputs=_new(given.inputs, data.inputs, "name", "digest"),
        models=_new(given.models, data.models, "model", "role"),
        values=_ending(there, run),
    )
    names, known = Names("metric"), Known(container, there.id)
    with Staged(there.id, there.experiment, names) as staged:
        for columns in each(given.points()):
            new = known.new(rows_of(columns, names, staged.missing))
            if len(new.points):
                staged.add(new)
        latest = staged.latest()
        given.missing.extend([*names.missing, *staged.missing])
        owner = container.store.get(Experiment, there.experiment)
        files = 0
        if owner is not None:
            root = run_root(owner.artifacts, there.id)
            files = bring_files(container, root, given.files, summary, f"run {there.id}")
        if (lacking.any() or staged.count) and not summary.dry_run:
            with container.store.begin() as tx:
                held = locked_run(tx, there.id)
                _log(container, tx, held, lacking.params, lacking.tags, lacking.inputs, lacking.models)
                if lacking.values:
                    tx.update(Run, lacking.values, ("id", "=", held.id))
                tx.put(*latest, by=Metric.RANK)
                newest = tx.find(MetricBlock, ("run", "=", held.id), order=["-seq"], limit=1)
                for block in staged.blocks(newest[0].seq + 1 if newest else 0):
                    tx.insert(block)
                _tell(container, tx, held, "completed", summary)
        summary.points += staged.count
        summary.runs.add("completed" if lacking.any() or staged.count or files else "same")


def _log(
    container: Container,
    tx: Transaction,
    run: Run,
    params: dict[str, str],
    tags: dict[str, str],
    inputs: Sequence[RunInput],
    models: Sequence[RunModel],
) -> None:
    tx.put(*(Param(run=run.id, key=key, value=value) for key, value in params.items()))
    tx.put(*(RunTag(run=run.id, key=key, value=value) for key, value in tags.items()))
    if inputs:
        inputs_in(container, tx, run, inputs)
    tx.put(*(msgspec.structs.replace(model, run=run.id) for model in models))


def _texts(given: SourceRun, run: Run) -> tuple[dict[str, str], dict[str, str]]:
    params = renamed(given.params, "parameter", given.missing)
    tags = renamed(given.tags, "tag", given.missing)
    if run.name:
        tags[NAME_TAG] = run.name
    return params, tags


def _new(given: Sequence[Any], there: Sequence[Any], *key: str) -> list[Any]:
    known = {tuple(getattr(record, name) for name in key) for record in there}
    return [record for record in given if tuple(getattr(record, name) for name in key) not in known]


def _ending(there: Run, run: Run) -> dict[str, Any]:
    """How the run ended, where the source knows of an end that the store does not."""
    if there.kind != "run" or run.state not in ENDED:
        return {}
    later = run.ended_at is not None and (there.ended_at is None or there.ended_at < run.ended_at)
    return {"state": run.state, "ended_at": run.ended_at} if there.state not in ENDED or later else {}


def _tell(container: Container, tx: Transaction, run: Run, what: str, summary: Summary) -> None:
    body = {"experiment": run.experiment, "name": run.name, "state": run.state, "source": summary.source}
    now = container.clock.now()
    tx.append(
        Event(kind=f"run.{what}", subject=f"run/{run.id}", at=now, actor=run.actor or "user", body=body)
    )
