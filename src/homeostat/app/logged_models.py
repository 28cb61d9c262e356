"""Logged models: what a run saved as a model, registered or not, with parameters, tags and metrics of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracking.experiments import DEFAULT, active_experiment, ensure_default
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.events import Edge, Event
from homeostat.domain.tracking import (
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
)
from homeostat.engine.tracking import limits
from homeostat.engine.tracking.filters import complete, on_datasets, ordered, parse
from homeostat.engine.tracking.kinds import LOGGED_MODELS
from homeostat.engine.tracking.names import run_name
from homeostat.engine.tracking.places import model_root
from homeostat.ports.meta import Transaction
from homeostat.ports.search import Dataset, Page, Query

Status = Literal["PENDING", "READY", "UPLOAD_FAILED"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
_NOT_IN_NAMES: Final = "/:.%\"'"
_NAME: Final = 500
_KEY: Final = 255
_TYPE: Final = 500


@dataclass
class LoggedModelData:
    """What belongs to a logged model; of metrics the latest points, by run and dataset."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[LoggedModelMetric] = field(default_factory=list)


class Ordering(msgspec.Struct, frozen=True):
    """One term of an order: an attribute, or ``metrics.`` and a key, of metrics on one dataset or on any."""

    name: str
    descending: bool = False
    on: Dataset = ("", "")


def create_logged_model(
    container: Container,
    experiment_id: int,
    *,
    name: str = "",
    type: str = "",
    run: str = "",
    params: Iterable[tuple[str, str]] = (),
    tags: Mapping[str, str] | None = None,
    actor: str = "user",
) -> LoggedModel:
    """Begin a logged model; its files follow, and then its status.

    Args:
        container: The ports.
        experiment_id: Where it belongs.
        name: What it is called, not alone; empty: a name that is made up.
        type: What kind of model it is, in the sender's words.
        run: The run that makes it.
        params: Its parameters.
        tags: Marks on it.
        actor: Who asked.

    Raises:
        NotFound: there is no such experiment.
        BadRequest: the experiment is deleted, or a name, parameter or tag cannot be.
    """
    _check_name(name)
    limits.check_length(type, _TYPE, "model_type")
    known = _checked_params(params)
    _check_keys(tags or {}, "tags")
    if experiment_id == DEFAULT:
        ensure_default(container)
    now = container.clock.now()
    id = f"m-{os.urandom(16).hex()}"
    with container.store.begin() as tx:
        experiment = active_experiment(tx, experiment_id)
        made = LoggedModel(
            id=id,
            experiment=experiment_id,
            name=name or run_name(),
            type=type,
            run=run,
            status="PENDING",
            artifacts=model_root(experiment.artifacts, id),
            created_at=now,
            updated_at=now,
        )
        tx.insert(made)
        if known:
            tx.insert(*(LoggedModelParam(model=id, key=key, value=value) for key, value in known.items()))
        if tags:
            tx.insert(*(LoggedModelTag(model=id, key=key, value=value) for key, value in tags.items()))
        edges = (Edge(f"run/{run}", _ref(id), "produced"),) if run else ()
        _tell(container, tx, made, "created", actor, edges)
    return made


def logged_model(container: Container, id: str, *, deleted: bool = False) -> LoggedModel:
    """A logged model.

    Args:
        container: The ports.
        id: Its id.
        deleted: Whether one that is deleted will do.

    Raises:
        NotFound: there is none of this id.
    """
    found = container.store.get(LoggedModel, id)
    if found is None or (found.deleted_at is not None and not deleted):
        raise _no_model(id)
    return found


def logged_model_data(container: Container, ids: Iterable[str]) -> dict[str, LoggedModelData]:
    """What belongs to logged models, by id; one to which nothing does has an empty entry."""
    found = {id: LoggedModelData() for id in ids}
    wanted = list(found)
    store = container.store
    for param in store.find(LoggedModelParam, ("model", "in", wanted)):
        found[param.model].params[param.key] = param.value
    for tag in store.find(LoggedModelTag, ("model", "in", wanted)):
        found[tag.model].tags[tag.key] = tag.value
    for metric in store.find(LoggedModelMetric, ("model", "in", wanted), order=["timestamp", "step"]):
        found[metric.model].metrics.append(metric)
    return found


def search_logged_models(
    container: Container,
    experiments: Sequence[int],
    *,
    filter: str = "",
    datasets: Sequence[Dataset] = (),
    order: Sequence[Ordering] = (),
    limit: int = 100,
    token: str = "",
) -> Page[LoggedModel]:
    """Logged models that are not deleted, a page at a time.

    Args:
        container: The ports.
        experiments: Of these experiments.
        filter: What must hold of them, in the filter language.
        datasets: Only metrics on these count; without a metric in the filter, a model must have some on one of them.
        order: How they are ordered; then, the newest first.
        limit: How many a page has at most.
        token: Where the page before ended.

    Raises:
        BadRequest: filter, order or token cannot be.
    """
    if any(not name for name, _ in datasets):
        raise BadRequest(
            "`dataset_name` in the `datasets` clause must be specified.", field="datasets.dataset_name"
        )
    return container.search.page(
        Query(
            kind=LoggedModel,
            scope=(("experiment", "in", list(experiments)), ("deleted_at", "=", None)),
            filter=on_datasets(parse(filter, LOGGED_MODELS), datasets),
            order=complete(
                [ordered(one.name, LOGGED_MODELS, descending=one.descending, on=one.on) for one in order],
                LOGGED_MODELS,
            ),
            limit=limit,
            token=token,
        )
    )


def finalize_logged_model(
    container: Container, id: str, status: Status, *, message: str = "", actor: str = "user"
) -> LoggedModel:
    """Say how the upload of a logged model ended.

    Raises:
        NotFound: there is none of this id.
    """
    with container.store.begin() as tx:
        old = _locked(tx, id)
        new = msgspec.structs.replace(
            old, status=status, status_message=message, updated_at=container.clock.now()
        )
        tx.put(new)
        _tell(container, tx, new, "finalized", actor)
    return new


def delete_logged_model(container: Container, id: str, *, actor: str = "user") -> None:
    """Mark a logged model as deleted; one that is already stays so.

    Raises:
        NotFound: there is none of this id.
    """
    with container.store.begin() as tx:
        old = _locked(tx, id)
        if old.deleted_at is not None:
            return
        now = container.clock.now()
        new = msgspec.structs.replace(old, deleted_at=now, updated_at=now)
        tx.put(new)
        _tell(container, tx, new, "deleted", actor)


def tag_logged_model(container: Container, id: str, tags: Mapping[str, str]) -> None:
    """Mark a logged model, in place of marks of the same keys.

    Raises:
        NotFound: there is none of this id.
        BadRequest: a key cannot be.
    """
    _check_keys(tags, "tags")
    with container.store.begin() as tx:
        _locked(tx, id)
        if tags:
            tx.put(*(LoggedModelTag(model=id, key=key, value=value) for key, value in tags.items()))


def untag_logged_model(container: Container, id: str, key: str) -> None:
    """Take a mark off a logged model.

    Raises:
        NotFound: there is no such model or mark.
    """
    with container.store.begin() as tx:
        _locked(tx, id)
        if not tx.delete(LoggedModelTag, ("model", "=", id), ("key", "=", key)):
            raise NotFound(f"No tag with key {key!r} found for model with ID {id!r}.")


def log_logged_model_params(container: Container, id: str, params: Iterable[tuple[str, str]]) -> None:
    """Add parameters to a logged model; they never change.

    Raises:
        NotFound: there is none of this id.
        BadRequest: a key cannot be, or has another value already.
    """
    wanted = _checked_params(params)
    with container.store.begin() as tx:
        _locked(tx, id)
        there = {
            param.key: param.value
            for param in tx.find(LoggedModelParam, ("model", "=", id), ("key", "in", list(wanted)))
        }
        for key, value in wanted.items():
            if there.get(key, value) != value:
                raise BadRequest(
                    f"Changing param values is not allowed. Param with key='{key}' was already logged with"
                    f" value='{there[key]}' for model ID='{id}'. Attempted logging new value '{value}'.",
                    field="params",
                )
        new = [
            LoggedModelParam(model=id, key=key, value=value)
            for key, value in wanted.items()
            if key not in there
        ]
        if new:
            tx.insert(*new)


def _locked(tx: Transaction, id: str) -> LoggedModel:
    found = tx.lock(LoggedModel, id)
    if found is None:
        raise _no_model(id)
    return found


def _no_model(id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{id}' not found.")


def _check_name(name: str) -> None:
    if any(letter in name for letter in _NOT_IN_NAMES):
        raise BadRequest(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the"
            f" following characters: {tuple(_NOT_IN_NAMES)}",
            field="name",
        )
    limits.check_length(name, _NAME, "name")


def _check_keys(values: Mapping[str, str], path: str) -> None:
    for number, key in enumerate(values):
        limits.check_length(key, _KEY, f"{path}[{number}].key")


def _checked_params(params: Iterable[tuple[str, str]]) -> dict[str, str]:
    found = limits.unique_params(params)
    _check_keys(found, "params")
    return found


def _ref(id: str) -> str:
    return f"logged-model/{id}"


def _tell(
    container: Container,
    tx: Transaction,
    about: LoggedModel,
    what: str,
    actor: str,
    edges: tuple[Edge, ...] = (),
) -> None:
    tx.append(
        Event(
            kind=f"logged-model.{what}",
            subject=_ref(about.id),
            at=container.clock.now(),
            actor=actor,
            body={"experiment": about.experiment, "name": about.name, "status": about.status},
            edges=edges,
        )
    )
