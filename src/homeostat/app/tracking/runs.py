"""Tracked runs: made, ended, renamed, deleted and brought back, each with its event."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracking.experiments import DEFAULT, active_experiment, ensure_default
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.events import Edge, Event
from homeostat.domain.records import Run, RunState
from homeostat.domain.tracking import RunTag
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.names import run_name
from homeostat.ports.meta import Transaction

NAME_TAG: Final = "mlflow.runName"  # MLflow keeps a run's name twice; both are kept the same
ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})


def run(container: Container, id: str) -> Run:
    """A run, deleted or not.

    Raises:
        NotFound: there is none of this id.
    """
    found = container.store.get(Run, id)
    if found is None:
        raise _no_run(id)
    return found


def create_run(
    container: Container,
    experiment_id: int,
    *,
    name: str = "",
    actor: str = "",
    started_at: datetime | None = None,
    tags: Mapping[str, str] | None = None,
    id: str = "",
) -> Run:
    """Begin a run.

    Args:
        container: The ports.
        experiment_id: Where it belongs.
        name: Its name; empty: as the tag ``mlflow.runName`` says, or one made up.
        actor: Who runs it.
        started_at: When it began; None: now.
        tags: Marks on it.
        id: Its id, where the caller must know it beforehand; empty: a new one, 32 hexadecimal digits.

    Raises:
        NotFound: there is no such experiment.
        BadRequest: the experiment is deleted, name and tag differ, or a tag cannot be.
        Conflict: there is a run of this id.
    """
    given = dict(tags or {})
    limits.check_tags(given)
    limits.check_length(name, limits.RUN_NAME, "run_name")
    if name and given.get(NAME_TAG, name) != name:
        raise BadRequest(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"
            f" (run_name='{name}', mlflow.runName='{given[NAME_TAG]}').",
            field="run_name",
        )
    name = given.setdefault(NAME_TAG, name or run_name()) or run_name()
    given[NAME_TAG] = name
    if experiment_id == DEFAULT:
        ensure_default(container)
    now = container.clock.now()
    made = Run(
        id=id or os.urandom(16).hex(),
        kind="run",
        experiment=experiment_id,
        name=name,
        state="running",
        actor=actor,
        created_at=now,
        started_at=started_at or now,
    )
    with container.store.begin() as tx:
        active_experiment(tx, experiment_id)  # whoever deletes it deletes its runs too
        tx.insert(made)
        tx.insert(*(RunTag(run=made.id, key=key, value=value) for key, value in given.items()))
        tell_run(container, tx, made, "created", actor)
    return made


def update_run(
    container: Container,
    id: str,
    *,
    state: RunState | None = None,
    ended_at: datetime | None = None,
    name: str = "",
    error: str = "",
) -> Run:
    """End a run, let it go on, or rename it; what is not given stays.

    Args:
        container: The ports.
        id: The run.
        state: Its new state; one that ended and is not told when, ended now.
        ended_at: When it ended.
        name: Its new name.
        error: Why it failed.

    Raises:
        NotFound: there is none of this id.
        BadRequest: it is deleted.
        Conflict: it is a training, whose state the platform keeps.
    """
    limits.check_length(name, limits.RUN_NAME, "run_name")
    with container.store.begin() as tx:
        old = active_run(tx, id)
        state = state or old.state
        if old.kind != "run" and (state != old.state or ended_at is not None):
            raise Conflict(
                f"run/{id} is a training, whose state the platform keeps",
                remedy="Only its name, tags, parameters and metrics can be changed",
            )
        if state == "running" and old.state != "running":
            ended_at = None
        elif ended_at is None:
            ended_at = container.clock.now() if state in ENDED and old.ended_at is None else old.ended_at
        new = msgspec.structs.replace(
            old, state=state, ended_at=ended_at, name=name or old.name, error=error or old.error
        )
        tx.put(new)
        if new.name != old.name:
            tx.put(RunTag(run=id, key=NAME_TAG, value=new.name))
            tell_run(container, tx, new, "renamed")
        if new.state != old.state:
            what = "resumed" if new.state == "running" else new.state
            tell_run(container, tx, new, what, error=new.error)
    return new


def delete_run(container: Container, id: str, *, actor: str = "user") -> Run:
    """Mark a run as deleted; one that is already stays so.

    Raises:
        NotFound: there is none of this id.
    """
    with container.store.begin() as tx:
        old = locked_run(tx, id)
        if old.deleted_at is not None:
            return old
        new = msgspec.structs.replace(old, deleted_at=container.clock.now())
        tx.put(new)
        tell_run(container, tx, new, "deleted", actor)
    return new


def restore_run(container: Container, id: str, *, actor: str = "user") -> Run:
    """Bring a deleted run back; one that is not deleted stays as it is.

    Raises:
        NotFound: there is none of this id.
    """
    with container.store.begin() as tx:
        old = locked_run(tx, id)
        if old.deleted_at is None:
            return old
        new = msgspec.structs.replace(old, deleted_at=None)
        tx.put(new)
        tell_run(container, tx, new, "restored", actor)
    return new


def locked_run(tx: Transaction, id: str) -> Run:
    """A run that nobody else changes or logs to until the transaction ends.

    Raises:
        NotFound: there is none of this id.
    """
    found = tx.lock(Run, id)
    if found is None:
        raise _no_run(id)
    return found


def active_run(tx: Transaction, id: str) -> Run:
    """As ``locked_run``, and not deleted.

    Raises:
        NotFound: there is none of this id.
        BadRequest: it is deleted.
    """
    found = locked_run(tx, id)
    if found.deleted_at is not None:
        raise BadRequest(
            f"The run {id} must be in the 'active' state. Current state is deleted",
            field="run_id",
            remedy="Restore it first",
        )
    return found


def _no_run(id: str) -> NotFound:
    return NotFound(f"Run with id={id} not found", remedy="Check the id, and the server that it came from")


def rename_in(container: Container, tx: Transaction, old: Run, name: str) -> None:
    """Give a run that this transaction has locked the name that its tag has been given."""
    tx.update(Run, {"name": name}, ("id", "=", old.id))
    tell_run(container, tx, msgspec.structs.replace(old, name=name), "renamed")


def tell_run(
    container: Container,
    tx: Transaction,
    about: Run,
    what: str,
    actor: str = "",
    *,
    edges: tuple[Edge, ...] = (),
    **body: object,
) -> None:
    """Say what happened to a run, as the event ``run.<what>``; by whose run it is, where no actor is given."""
    tx.append(
        Event(
            kind=f"run.{what}",
            subject=f"run/{about.id}",
            at=container.clock.now(),
            actor=actor or about.actor or "user",
            body={"experiment": about.experiment, "name": about.name} | body,
            edges=edges,
        )
    )
