"""Experiments: named collections of runs. Experiment 0, ``Default``, is always there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.events import Event, short
from homeostat.domain.records import Cursor, Run
from homeostat.domain.tracking import Experiment, ExperimentTag
from homeostat.engine.tracking import limits
from homeostat.ports.meta import Transaction

DEFAULT: Final = 0
# The Cursor at the greatest number of one that is gone for good: none is given twice.
NUMBERS: Final = "experiments"


def experiment(container: Container, id: int) -> Experiment:
    """An experiment, deleted or not.

    Raises:
        NotFound: there is none of this id.
    """
    found = container.store.get(Experiment, id)
    if found is None and id == DEFAULT:
        found = ensure_default(container)
    if found is None:
        raise no_experiment(id)
    return found


def experiment_by_name(container: Container, name: str) -> Experiment | None:
    """The experiment of a name, deleted or not; None when there is none."""
    ensure_default(container)
    found = container.store.find(Experiment, ("name", "=", name), limit=1)
    return found[0] if found else None


def experiment_tags(container: Container, ids: Iterable[int]) -> dict[int, dict[str, str]]:
    """The tags of experiments, by id; one without tags has an empty entry."""
    tags: dict[int, dict[str, str]] = {id: {} for id in ids}
    for tag in container.store.find(ExperimentTag, ("experiment", "in", list(tags))):
        tags[tag.experiment][tag.key] = tag.value
    return tags


def create_experiment(
    container: Container,
    name: str,
    *,
    artifacts: str = "",
    tags: Mapping[str, str] | None = None,
    actor: str = "user",
) -> Experiment:
    """Make an experiment.

    Args:
        container: The ports.
        name: Its name, which no other has, deleted ones included.
        artifacts: The URI under which files of its runs are kept; empty: this server's own place.
        tags: Marks on it.
        actor: Who asked.

    Raises:
        Conflict: the name is taken.
        BadRequest: the name or a tag cannot be.
    """
    limits.check_experiment_name(name)
    limits.check_tags(tags or {}, limit=limits.EXPERIMENT_TAG)
    with container.store.begin() as tx:
        _default_in(container, tx)  # locked: who makes an experiment takes the next number
        if found := tx.find(Experiment, ("name", "=", name)):
            raise _taken(found[0])
        made = _add(container, tx, name, artifacts, actor)
        if tags:
            tx.insert(*(ExperimentTag(experiment=made.id, key=k, value=v) for k, v in tags.items()))
    return made


def experiment_in(container: Container, tx: Transaction, name: str) -> Experiment:
    """The experiment of a name, in an open transaction; made if there is none, and not brought back if deleted."""
    found = tx.find(Experiment, ("name", "=", name), limit=1)
    if not found:
        _default_in(container, tx)
        found = tx.find(Experiment, ("name", "=", name), limit=1)
    return found[0] if found else _add(container, tx, name, "", "system")


def rename_experiment(container: Container, id: int, name: str, *, actor: str = "user") -> Experiment:
    """Give an experiment another name.

    Raises:
        NotFound: there is none of this id.
        BadRequest: it is deleted, or the name cannot be.
        Conflict: the name is taken.
    """
    limits.check_experiment_name(name)
    with container.store.begin() as tx:
        _default_in(container, tx)
        old = locked_experiment(tx, id)
        if old.deleted_at is not None:
            raise BadRequest("Cannot rename a non-active experiment", remedy="Restore it first")
        if found := tx.find(Experiment, ("name", "=", name), ("id", "!=", id)):
            raise _taken(found[0])
        return _change(container, tx, old, "renamed", actor, name=name)


def delete_experiment(container: Container, id: int, *, actor: str = "user") -> Experiment:
    """Mark an experiment and its runs as deleted.

    Raises:
        NotFound: there is none of this id, or it is deleted already.
    """
    with container.store.begin() as tx:
        _default_in(container, tx)
        old = locked_experiment(tx, id)
        if old.deleted_at is not None:
            raise no_experiment(id)
        now = container.clock.now()
        tx.update(Run, {"deleted_at": now}, ("experiment", "=", id), ("deleted_at", "=", None))
        return _change(container, tx, old, "deleted", actor, deleted_at=now)


def restore_experiment(container: Container, id: int, *, actor: str = "user") -> Experiment:
    """Bring a deleted experiment back, with the runs that were deleted with it.

    Raises:
        NotFound: there is no deleted one of this id.
    """
    with container.store.begin() as tx:
        old = locked_experiment(tx, id)
        if old.deleted_at is None:
            raise no_experiment(id)
        tx.update(Run, {"deleted_at": None}, ("experiment", "=", id), ("deleted_at", "=", old.deleted_at))
        return _change(container, tx, old, "restored", actor, deleted_at=None)


def tag_experiment(container: Container, id: int, key: str, value: str, *, actor: str = "user") -> None:
    """Mark an experiment.

    Raises:
        NotFound: there is none of this id.
        BadRequest: it is deleted, or the tag cannot be.
    """
    limits.check_tags({key: value}, limit=limits.EXPERIMENT_TAG)
    with container.store.begin() as tx:
        if id == DEFAULT:
            _default_in(container, tx)
        of = locked_experiment(tx, id)
        check_active(of)
        if tx.get(ExperimentTag, id, key) != (new := ExperimentTag(experiment=id, key=key, value=value)):
            tx.put(new)
            _tell(container, tx, of, "tagged", actor, key=key, value=short(value))


def untag_experiment(container: Container, id: int, key: str, *, actor: str = "user") -> None:
    """Take a mark off an experiment.

    Raises:
        NotFound: there is no such experiment or mark.
        BadRequest: it is deleted.
    """
    with container.store.begin() as tx:
        of = locked_experiment(tx, id)
        check_active(of)
        if not tx.delete(ExperimentTag, ("experiment", "=", id), ("key", "=", key)):
            raise NotFound(f"No tag with name: {key} in experiment with id {id}")
        _tell(container, tx, of, "untagged", actor, key=key)


def ensure_default(container: Container) -> Experiment:
    """Experiment 0, made if it is not there yet."""
    found = container.store.get(Experiment, DEFAULT)
    if found is None:
        with container.store.begin() as tx:
            found = _default_in(container, tx)
    return found


def locked_experiment(tx: Transaction, id: int) -> Experiment:
    """An experiment that nobody else changes until the transaction ends.

    Raises:
        NotFound: there is none of this id.
    """
    found = tx.lock(Experiment, id)
    if found is None:
        raise no_experiment(id)
    return found


def active_experiment(tx: Transaction, id: int) -> Experiment:
    """An experiment that nobody deletes until the transaction ends, for what is made in it.

    Raises:
        NotFound: there is none of this id.
        BadRequest: it is deleted.
    """
    found = tx.lock(Experiment, id, shared=True)
    if found is None:
        raise no_experiment(id)
    check_active(found)
    return found


def check_active(found: Experiment) -> None:
    """Refuse a deleted experiment.

    Raises:
        BadRequest: it is deleted.
    """
    if found.deleted_at is not None:
        raise BadRequest(
            f"The experiment {found.id} must be in the 'active' state. Current state is deleted",
            field="experiment_id",
            remedy="Restore it, or use another one",
        )


def no_experiment(id: int | str) -> NotFound:
    """The error for an experiment that is not there."""
    return NotFound(f"No Experiment with id={id} exists", remedy="Look for it by name, deleted ones included")


def _default_in(container: Container, tx: Transaction) -> Experiment:
    """Experiment 0, locked: whoever makes or renames an experiment does so after the others."""
    return tx.lock(Experiment, DEFAULT) or _insert(container, tx, DEFAULT, "Default", "", "system")


def _add(container: Container, tx: Transaction, name: str, artifacts: str, actor: str) -> Experiment:
    newest = tx.find(Experiment, order=["-id"], limit=1)
    gone = tx.get(Cursor, NUMBERS)
    number = max(newest[0].id, gone.seq if gone else DEFAULT) + 1
    return _insert(container, tx, number, name, artifacts, actor)


def _insert(
    container: Container, tx: Transaction, id: int, name: str, artifacts: str, actor: str
) -> Experiment:
    now = container.clock.now()
    made = Experiment(
        id=id, name=name, artifacts=artifacts or f"mlflow-artifacts:/{id}", created_at=now, updated_at=now
    )
    tx.insert(made)
    _tell(container, tx, made, "created", actor, artifacts=made.artifacts)
    return made


def _change(
    container: Container, tx: Transaction, old: Experiment, what: str, actor: str, **fields: object
) -> Experiment:
    now = container.clock.now()
    new = msgspec.structs.replace(old, updated_at=now, **fields)
    tx.put(new)
    _tell(container, tx, new, what, actor)
    return new


def _tell(
    container: Container, tx: Transaction, about: Experiment, what: str, actor: str, **body: object
) -> None:
    tx.append(
        Event(
            kind=f"experiment.{what}",
            subject=f"experiment/{about.id}",
            at=container.clock.now(),
            actor=actor,
            body={"name": about.name} | body,
        )
    )


def _taken(found: Experiment) -> Conflict:
    if found.deleted_at is not None:
        return Conflict(
            f"Experiment(name={found.name}) already exists in deleted state",
            remedy=f"Restore experiment {found.id}",
        )
    return Conflict(f"Experiment(name={found.name}) already exists", remedy="Use it, or take another name")
