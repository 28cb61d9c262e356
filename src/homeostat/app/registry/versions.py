"""Versions that clients register, and what they do with any version: describe, label, mark, delete.

Labels are MLflow's stages, a free mark that moves nothing. What the loop does with a version, its ``stage``, follows
from trainings and gates alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from homeostat.app.container import Container
from homeostat.app.registry import models
from homeostat.app.registry.pointers import move_alias
from homeostat.app.registry.reading import VersionShown, no_version, version
from homeostat.app.registry.sources import Given, settle, tell_logged_model
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.events import Edge, Event, short
from homeostat.domain.records import (
    Alias,
    Approval,
    Deployment,
    Deprecation,
    GateResult,
    ModelVersion,
    Run,
    Signature,
)
from homeostat.domain.refs import Ref
from homeostat.domain.tracking import ModelTag, RegisteredModel
from homeostat.engine.registry import names
from homeostat.engine.tracking import limits
from homeostat.ports.meta import Transaction, Where

CREATED = "model.version-created"


def create(
    container: Container,
    name: str,
    source: str,
    *,
    run: str | None = None,
    logged_model: str | None = None,
    tags: Mapping[str, str] | None = None,
    link: str = "",
    description: str = "",
    actor: str = "user",
) -> VersionShown:
    """Register a version: the next number, which no other version of the model ever has.

    Args:
        container: The ports.
        name: The registered model.
        source: Where its files are.
        run: The run that made it; None: what the source says.
        logged_model: The logged model that it is; None: what the source says.
        tags: Marks on it.
        link: Where its run is, if on another server.
        description: What it is.
        actor: Who asked.

    Raises:
        NotFound: there is no such model, or none at the source.
        BadRequest: a tag cannot be, or the source is not part of the run or logged model.
    """
    names.check_model_name(name)
    given = dict(tags or {})
    models.check_tags(given)
    for field, text, longest in (
        ("description", description, names.DESCRIPTION),
        ("source", source, names.SOURCE),
        ("run_link", link, names.SOURCE),
        ("run_id", run or "", names.RUN),
        ("model_id", logged_model or "", names.RUN),
    ):
        limits.check_length(text, longest, field)
    prompt = given.get(names.PROMPT, "").lower() == "true"
    settled = settle(container, Given(source, run, logged_model), prompt=prompt)
    with container.store.begin() as tx:
        number = models.take_number(tx, container, name)
        now = container.clock.now()
        made = ModelVersion(
            model=name,
            version=number,
            run=settled.run,
            stage="registered",
            source=settled.source,
            location=settled.location,
            logged_model=settled.logged_model,
            link=link,
            description=description,
            created_at=now,
            updated_at=now,
        )
        tx.insert(made)
        if given:
            tx.insert(*(ModelTag(model=name, version=number, key=k, value=v) for k, v in given.items()))
        if made.logged_model and not prompt:
            tell_logged_model(tx, made)
        ref = _ref(made)
        edges = []
        if made.run and tx.get(Run, made.run) is not None:
            edges.append(Edge(f"run/{made.run}", str(ref), "produced"))
        if made.logged_model and not prompt:
            edges.append(Edge(f"logged-model/{made.logged_model}", str(ref), "registered"))
        body = {"source": made.source, "run": made.run, "logged_model": made.logged_model}
        tx.append(
            Event(
                kind=CREATED,
                subject=str(ref),
                at=now,
                actor=actor,
                body={key: value for key, value in body.items() if value},
                edges=tuple(edges),
            )
        )
    return VersionShown(made, tags=dict(sorted(given.items())))


def describe(
    container: Container, name: str, number: int, description: str, *, actor: str = "user"
) -> VersionShown:
    """Say what a version is.

    Raises:
        NotFound: there is no such version.
        BadRequest: the text is too long.
    """
    limits.check_length(description, names.DESCRIPTION, "description")
    with container.store.begin() as tx:
        old = _locked(tx, name, number)
        now = container.clock.now()
        tx.put(msgspec.structs.replace(old, description=description, updated_at=now))
        body = {"description": short(description)}
        tx.append(Event(kind="model.described", subject=str(_ref(old)), at=now, actor=actor, body=body))
    return version(container.store, name, number)


def label(
    container: Container, name: str, number: int, text: str, *, archive: bool = False, actor: str = "user"
) -> VersionShown:
    """Give a version another label.

    Args:
        container: The ports.
        name: The registered model.
        number: The version.
        text: The label: None, Staging, Production or Archived.
        archive: Whether to archive those that have the label now.
        actor: Who asked.

    Raises:
        NotFound: there is no such version.
        BadRequest: there is no such label, or it is not one of those for which versions are archived.
    """
    wanted = names.label_of(text)
    if archive and wanted not in names.ACTIVE:
        raise BadRequest(
            "Model version transition cannot archive existing model versions because"
            f" '{text}' is not an Active stage. Valid stages are {list(names.ACTIVE)}",
            field="archive_existing_versions",
        )
    with container.store.begin() as tx:
        record = _owner(tx, name, number)
        chosen = _locked(tx, name, number)
        now = container.clock.now()
        if archive:
            others: list[Where] = [("model", "=", name), ("label", "=", wanted), ("version", "!=", number)]
            for other in tx.find(ModelVersion, *others):
                _tell_label(tx, other, names.ARCHIVED, now, actor, f"@{number} is {wanted} now")
            tx.update(ModelVersion, {"label": names.ARCHIVED, "updated_at": now}, *others)
        tx.put(msgspec.structs.replace(chosen, label=wanted, updated_at=now))
        if chosen.label != wanted:
            _tell_label(tx, chosen, wanted, now, actor, "")
        _recount(tx, container, record, {chosen.label, wanted, names.ARCHIVED})
    return version(container.store, name, number)


def _tell_label(
    tx: Transaction, of: ModelVersion, label: str, now: datetime, actor: str, reason: str
) -> None:
    body = {"from": of.label, "to": label} | ({"reason": reason} if reason else {})
    tx.append(Event(kind="model.stage-set", subject=str(_ref(of)), at=now, actor=actor, body=body))


def tag(container: Container, name: str, number: int, key: str, value: str, *, actor: str = "user") -> None:
    """Mark a version.

    Raises:
        NotFound: there is no such version.
        BadRequest: the tag cannot be.
    """
    models.check_tags({key: value})
    with container.store.begin() as tx:
        found = _locked(tx, name, number)
        mark = ModelTag(model=name, version=number, key=key, value=value)
        models.put_tag(tx, container, _ref(found), mark, actor)


def untag(container: Container, name: str, number: int, key: str, *, actor: str = "user") -> None:
    """Take a mark off a version; taking off none is no error.

    Raises:
        NotFound: there is no such version.
    """
    limits.check_name(key, "key")
    with container.store.begin() as tx:
        found = _locked(tx, name, number)
        models.drop_tag(tx, container, _ref(found), number, key, actor)


def delete(container: Container, name: str, number: int, *, actor: str = "user") -> None:
    """Delete a version with its tags and aliases; its number is not given again.

    Raises:
        NotFound: there is no such version.
        BadRequest: it is served, or about to be.
    """
    names.check_model_name(name)
    with container.store.begin() as tx:
        deployment = tx.lock(Deployment, name)  # before the model, as everywhere
        record = _owner(tx, name, number)
        old = _locked(tx, name, number)
        _check_idle(old, deployment)
        why = "the version was deleted"
        for alias in tx.find(Alias, ("model", "=", name), ("version", "=", number), order=["alias"]):
            move_alias(tx, container, name, alias.alias, None, actor=actor, reason=why)
        for kind in (ModelTag, GateResult, Approval, Signature, Deprecation, ModelVersion):
            tx.delete(kind, ("model", "=", name), ("version", "=", number))
        _recount(tx, container, record, {old.label})
        body = {"digest": old.digest, "source": old.source, "run": old.run, "stage": old.stage}
        tx.append(
            Event(
                kind="model.version-deleted",
                subject=str(_ref(old)),
                at=container.clock.now(),
                actor=actor,
                body={key: value for key, value in body.items() if value},
            )
        )


def download_uri(container: Container, name: str, number: int) -> str:
    """Where the files of a version are.

    Raises:
        NotFound: there is no such version.
    """
    found = version(container.store, name, number).record
    return found.location or found.source


def _check_idle(old: ModelVersion, deployment: Deployment | None) -> None:
    if deployment is not None and any(arm.version == old.version for arm in deployment.arms):
        raise BadRequest(
            f"{_ref(old)} cannot be deleted: deployment/{deployment.name} serves it",
            field="version",
            remedy="Promote another version first",
        )
    if old.stage in ("candidate", "accepted"):
        raise BadRequest(
            f"{_ref(old)} cannot be deleted: it is {old.stage}, on its way into service",
            field="version",
            remedy="Wait until its gates and its rollout are over",
        )


def _locked(tx: Transaction, name: str, number: int) -> ModelVersion:
    names.check_model_name(name)
    found = tx.lock(ModelVersion, name, number)
    if found is None:
        raise no_version(name, number)
    return found


def _owner(tx: Transaction, name: str, number: int) -> RegisteredModel:
    """The registered model of a version, locked; it comes before its versions, as everywhere."""
    try:
        return models.locked(tx, name)
    except NotFound as error:
        raise no_version(name, number) from error


def _recount(tx: Transaction, container: Container, record: RegisteredModel, labels: Iterable[str]) -> None:
    """Find the newest version of labels anew."""
    newest = dict(record.latest)
    for label in labels:
        newest.pop(label, None)
        where: list[Where] = [("model", "=", record.name), ("label", "=", label)]
        for found in tx.find(ModelVersion, *where, order=["-version"], limit=1):
            newest[label] = found.version
    tx.put(msgspec.structs.replace(record, latest=newest, updated_at=container.clock.now()))


def _ref(of: ModelVersion) -> Ref:
    return Ref("model", of.model).at(of.version)
