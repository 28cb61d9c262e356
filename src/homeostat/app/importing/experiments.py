"""Experiments on their way in: found by name, or made with the id that they had where that is free."""

from __future__ import annotations

from homeostat.app.container import Container
from homeostat.app.importing.naming import kept, others, renamed
from homeostat.app.importing.summary import Summary
from homeostat.app.tracking.experiments import (
    DEFAULT,
    NUMBERS,
    ensure_default,
    experiment_tags,
    locked_experiment,
)
from homeostat.domain.errors import Conflict
from homeostat.domain.events import Event
from homeostat.domain.records import Cursor
from homeostat.domain.tracking import Experiment, ExperimentTag
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.places import SCHEME
from homeostat.ports.meta import Transaction
from homeostat.ports.sources import Missing, SourceExperiment


def bring_experiment(container: Container, given: SourceExperiment, summary: Summary) -> Experiment:
    """The experiment of a name, made if there is none, with the tags that it lacks.

    Raises:
        BadRequest: the name cannot be.
    """
    name = kept(given.name)
    limits.check_experiment_name(name)
    missing: list[Missing] = []
    tags = renamed(given.tags, "tag", missing)
    summary.tell_all(missing)
    there = container.store.find(Experiment, ("name", "=", name), limit=1)
    if there:
        known = experiment_tags(container, [there[0].id])[there[0].id]
        alive = there[0].deleted_at is None
        lacking = [
            ExperimentTag(experiment=there[0].id, key=k, value=v) for k, v in tags.items() if k not in known
        ]
        lacking = lacking if alive else []
        told = others(tags, known, "tag")
        if given.deleted_at is not None and alive:
            told.append("it is deleted in the source, and stays here")
        summary.tell_all(Missing(f"experiment {name}", reason) for reason in told)
        if lacking and not summary.dry_run:
            with container.store.begin() as tx:
                locked_experiment(tx, there[0].id)
                tx.put(*lacking)
        summary.experiments.add("completed" if lacking else "same")
        return there[0]
    summary.experiments.add("new")
    if summary.dry_run:
        return _record(container, given, name, -1)
    if name != "Default":
        ensure_default(container)
    try:
        return _make(container, given, name, tags, summary)
    except Conflict:  # another process made one of this name meanwhile
        return container.store.find(Experiment, ("name", "=", name), limit=1)[0]


def _make(
    container: Container, given: SourceExperiment, name: str, tags: dict[str, str], summary: Summary
) -> Experiment:
    with container.store.begin() as tx:
        tx.lock(Experiment, DEFAULT)  # who makes an experiment takes the next number
        if tx.find(Experiment, ("name", "=", name), limit=1):
            raise Conflict(f"Experiment(name={name}) already exists")
        made = _record(container, given, name, _number(tx, given))
        tx.insert(made, *(ExperimentTag(experiment=made.id, key=k, value=v) for k, v in tags.items()))
        body = {"name": name, "artifacts": made.artifacts, "source": summary.source}
        now = container.clock.now()
        subject = f"experiment/{made.id}"
        tx.append(Event(kind="experiment.imported", subject=subject, at=now, actor="user", body=body))
    return made


def _number(tx: Transaction, given: SourceExperiment) -> int:
    if given.id is not None and tx.get(Experiment, given.id) is None:
        return given.id
    newest = tx.find(Experiment, order=["-id"], limit=1)
    gone = tx.get(Cursor, NUMBERS)
    return max(newest[0].id if newest else DEFAULT, gone.seq if gone else DEFAULT) + 1


def _record(container: Container, given: SourceExperiment, name: str, id: int) -> Experiment:
    created = given.created_at or container.clock.now()
    return Experiment(
        id=id,
        name=name,
        artifacts=given.artifacts or f"{SCHEME}:/{id}",
        created_at=created,
        updated_at=given.updated_at or created,
        deleted_at=given.deleted_at,
    )
