"""Registered models: made, renamed, described, marked and deleted, each with its event.

A model that a project declared belongs to the loop as well: its name stands in code, deployments and predictions, so
it is neither renamed nor deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from homeostat.app.container import Container
from homeostat.app.registry.pointers import MOVED, move_alias
from homeostat.app.registry.reading import ModelShown, model, no_model
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.events import Edge, Event, short
from homeostat.domain.records import Alias, Deployment, Deprecation, ModelVersion, Project, Signature
from homeostat.domain.refs import Ref
from homeostat.domain.tracking import ModelTag, RegisteredModel
from homeostat.engine.registry import names
from homeostat.engine.tracking import limits
from homeostat.ports.meta import Transaction

REGISTERED = "model.registered"


def register(
    container: Container,
    name: str,
    *,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    actor: str = "user",
) -> ModelShown:
    """Register a name, under which versions can then be.

    Raises:
        Conflict: it is taken.
        BadRequest: the name or a tag cannot be.
    """
    names.check_model_name(name)
    limits.check_length(description, names.DESCRIPTION, "description")
    given = dict(tags or {})
    check_tags(given)
    with container.store.begin() as tx:
        try:
            made = _insert(tx, container, name, actor, description=description, body={"tags": _short(given)})
        except Conflict as error:
            raise _taken(tx, name, given) from error
        if given:
            tx.insert(*(ModelTag(model=name, version=0, key=k, value=v) for k, v in given.items()))
    return ModelShown(made, tags=dict(sorted(given.items())))


def declare(tx: Transaction, container: Container, name: str) -> None:
    """Register a model that a project declares, if nobody has."""
    if tx.get(RegisteredModel, name) is None:
        try:
            _insert(tx, container, name, "homeostat", body={"declared": True})
        except Conflict:  # a client registered it meanwhile, which does as well
            return


def rename(container: Container, name: str, new: str, *, actor: str = "user") -> ModelShown:
    """Give a registered model another name; what is known of it by the old one is found by the new one too.

    Raises:
        NotFound: there is none of this name.
        Conflict: the new name is taken.
        BadRequest: the new name cannot be, or a project declared the model.
    """
    names.check_model_name(new, "new_name")
    with container.store.begin() as tx:
        old = _own(tx, name, "renamed")
        if new != name:
            _rename(tx, container, old, new, actor)
    return model(container.store, new)


def _rename(tx: Transaction, container: Container, old: RegisteredModel, new: str, actor: str) -> None:
    name, now = old.name, container.clock.now()
    versions = tx.find(ModelVersion, ("model", "=", name))
    aliases = tx.find(Alias, ("model", "=", name), order=["alias"])
    try:
        tx.insert(msgspec.structs.replace(old, name=new, updated_at=now))
    except Conflict as error:
        raise _taken(tx, new, {}) from error
    tx.delete(RegisteredModel, ("name", "=", name))
    tx.update(ModelVersion, {"model": new, "updated_at": now}, ("model", "=", name))
    for kind in (ModelTag, Signature, Deprecation, Alias):
        tx.update(kind, {"model": new}, ("model", "=", name))
    was, is_now = Ref("model", name), Ref("model", new)
    edges = [Edge(str(was.at(v.version)), str(is_now.at(v.version)), "renamed") for v in versions]
    tx.append(
        Event(kind="model.renamed", subject=str(was), at=now, actor=actor, body={"to": new}),
        Event(
            kind=REGISTERED, subject=str(is_now), at=now, actor=actor, body={"from": name}, edges=tuple(edges)
        ),
    )
    for alias in aliases:
        moved = {"alias": alias.alias, "reason": f"{was} became {is_now}"}
        for ref, step in ((was, (alias.version, None)), (is_now, (None, alias.version))):
            body = moved | {"from": step[0], "to": step[1]}
            tx.append(Event(kind=MOVED, subject=str(ref.at(alias.alias)), at=now, actor=actor, body=body))


def describe(container: Container, name: str, description: str, *, actor: str = "user") -> ModelShown:
    """Say what a registered model is.

    Raises:
        NotFound: there is none of this name.
        BadRequest: the text is too long.
    """
    limits.check_length(description, names.DESCRIPTION, "description")
    with container.store.begin() as tx:
        old = locked(tx, name)
        now = container.clock.now()
        tx.put(msgspec.structs.replace(old, description=description, updated_at=now))
        body = {"description": short(description)}
        tx.append(
            Event(kind="model.described", subject=str(Ref("model", name)), at=now, actor=actor, body=body)
        )
    return model(container.store, name)


def tag(container: Container, name: str, key: str, value: str, *, actor: str = "user") -> None:
    """Mark a registered model.

    Raises:
        NotFound: there is none of this name.
        BadRequest: the tag cannot be.
    """
    check_tags({key: value})
    with container.store.begin() as tx:
        locked(tx, name)
        put_tag(
            tx, container, Ref("model", name), ModelTag(model=name, version=0, key=key, value=value), actor
        )


def untag(container: Container, name: str, key: str, *, actor: str = "user") -> None:
    """Take a mark off a registered model; taking off none is no error.

    Raises:
        NotFound: there is no such model.
    """
    limits.check_name(key, "key")
    with container.store.begin() as tx:
        locked(tx, name)
        drop_tag(tx, container, Ref("model", name), 0, key, actor)


def delete(container: Container, name: str, *, actor: str = "user") -> None:
    """Delete a registered model with its versions; a new one of this name begins anew.

    Raises:
        NotFound: there is none of this name.
        BadRequest: a project declared it.
    """
    with container.store.begin() as tx:
        old = _own(tx, name, "deleted")
        for alias in tx.find(Alias, ("model", "=", name), order=["alias"]):
            move_alias(tx, container, name, alias.alias, None, actor=actor, reason="the model was deleted")
        gone = tx.delete(ModelVersion, ("model", "=", name))
        for kind in (ModelTag, Signature, Deprecation):
            tx.delete(kind, ("model", "=", name))
        tx.delete(RegisteredModel, ("name", "=", name))
        body = {"versions": gone, "description": short(old.description)}
        tx.append(
            Event(
                kind="model.deleted",
                subject=str(Ref("model", name)),
                at=container.clock.now(),
                actor=actor,
                body=body,
            )
        )


def locked(tx: Transaction, name: str) -> RegisteredModel:
    """A registered model, whose versions nobody else makes, labels or removes until the transaction ends.

    Raises:
        NotFound: there is none of this name.
        BadRequest: no model can have this name.
    """
    names.check_model_name(name)
    found = tx.lock(RegisteredModel, name)
    if found is None:
        raise no_model(name)
    return found


def take_number(tx: Transaction, container: Container, name: str) -> int:
    """The number of a model's next version, which no other gets; the version must be made in this transaction.

    Raises:
        NotFound: there is no such model.
    """
    record = locked(tx, name)
    number = record.versions + 1
    newest = record.latest | {names.UNLABELLED: number}
    tx.put(msgspec.structs.replace(record, versions=number, latest=newest, updated_at=container.clock.now()))
    return number


def check_tags(tags: Mapping[str, str]) -> None:
    """Check tags of a model or a version.

    Raises:
        BadRequest: a key is no name, or a value is too long.
    """
    for key, value in tags.items():
        limits.check_name(key, "key")
        if key == names.PROMPT_TEXT and len(value) > names.TAG_VALUE:
            raise BadRequest(
                f"Prompt text exceeds max length of {names.TAG_VALUE} characters.", field=f"tags.{key}"
            )
        limits.check_length(value, names.TAG_VALUE, "value")


def put_tag(tx: Transaction, container: Container, ref: Ref, mark: ModelTag, actor: str) -> None:
    """Set a tag, with its event; one that is set so already stays as it is."""
    if tx.get(ModelTag, mark.model, mark.version, mark.key) == mark:
        return
    tx.put(mark)
    body = {"key": mark.key, "value": short(mark.value)}
    tx.append(Event(kind="model.tagged", subject=str(ref), at=container.clock.now(), actor=actor, body=body))


def drop_tag(tx: Transaction, container: Container, ref: Ref, number: int, key: str, actor: str) -> None:
    """Remove a tag, with its event, where it is set."""
    if tx.delete(ModelTag, ("model", "=", ref.name), ("version", "=", number), ("key", "=", key)):
        now = container.clock.now()
        tx.append(Event(kind="model.untagged", subject=str(ref), at=now, actor=actor, body={"key": key}))


def _short(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: short(value) for key, value in tags.items()}


def _insert(
    tx: Transaction,
    container: Container,
    name: str,
    actor: str,
    *,
    description: str = "",
    body: Mapping[str, Any],
) -> RegisteredModel:
    now = container.clock.now()
    made = RegisteredModel(name=name, description=description, created_at=now, updated_at=now)
    tx.insert(made)
    told = {key: value for key, value in body.items() if value}
    if description:
        told["description"] = short(description)
    tx.append(Event(kind=REGISTERED, subject=str(Ref("model", name)), at=now, actor=actor, body=told))
    return made


def _own(tx: Transaction, name: str, what: str) -> RegisteredModel:
    """A model that clients may do away with: not one of the loop's."""
    names.check_model_name(name)
    deployed = tx.lock(Deployment, name) is not None  # before the model, as everywhere
    found = locked(tx, name)
    project = next((p.name for p in tx.find(Project) if f"model/{name}" in p.declared), None)
    if project is not None:
        raise BadRequest(
            f"model/{name} cannot be {what}: project/{project} declares it",
            field="name",
            remedy="Take it out of the project, or register another model",
        )
    if deployed:
        raise BadRequest(
            f"model/{name} cannot be {what}: it was deployed, and predictions name its versions",
            field="name",
            remedy="Register another model",
        )
    return found


def _taken(tx: Transaction, name: str, tags: Mapping[str, str]) -> Conflict:
    kinds = {True: "Prompt", False: "Registered Model"}
    there = kinds[tx.get(ModelTag, name, 0, names.PROMPT) is not None]
    wanted = kinds[names.PROMPT in tags]
    if there == wanted:
        return Conflict(f"{wanted} (name={name}) already exists.")
    return Conflict(
        f"Tried to create a {wanted.lower()} with name {name!r}, but the name is already taken by a {there.lower()}."
        " MLflow does not allow creating a model and a prompt with the same name."
    )
