"""Aliases: set, taken away, and what they pointed to at any time, by the ledger.

The alias ``champion`` of a deployed model is what it serves. Whoever sets it asks for a promotion, which has its own
rules: a version that no gate has judged does not get there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeostat.app.container import Container
from homeostat.app.registry import models
from homeostat.app.registry.pointers import MOVED, champion_of, move_alias
from homeostat.app.registry.reading import no_version
from homeostat.app.registry.reports import Live
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import Deployment, ModelVersion
from homeostat.domain.refs import Ref
from homeostat.domain.tracking import RegisteredModel
from homeostat.engine.registry import names


def set_alias(container: Container, name: str, alias: str, number: int, *, actor: str = "user") -> None:
    """Let an alias point to a version.

    Raises:
        NotFound: there is no such version.
        BadRequest: the alias cannot be set, or the version cannot be promoted.
    """
    names.check_model_name(name)
    names.check_settable(alias)
    with container.store.begin() as tx:
        deployed = alias == names.CHAMPION and tx.lock(Deployment, name) is not None
        # The model before the version, as everywhere: whoever deletes the model looks for its aliases.
        if tx.lock(RegisteredModel, name) is None or tx.lock(ModelVersion, name, number) is None:
            raise no_version(name, number)
        if not deployed:
            move_alias(tx, container, name, alias, number, actor=actor, reason="set by hand")
    if deployed:
        _promote(container, name, number, actor)


def drop_alias(container: Container, name: str, alias: str, *, actor: str = "user") -> None:
    """Take an alias away; taking away none is no error.

    Raises:
        NotFound: there is no such model.
        BadRequest: the alias says what a deployment serves.
    """
    names.check_alias(alias)
    names.check_model_name(name)
    with container.store.begin() as tx:
        deployment = tx.lock(Deployment, name) if alias == names.CHAMPION else None
        models.locked(tx, name)
        if deployment is not None and deployment.arms:
            raise BadRequest(
                f"model/{name}@{alias} cannot be taken away: deployment/{name} serves it",
                field="alias",
                remedy="Promote another version",
            )
        move_alias(tx, container, name, alias, None, actor=actor, reason="taken away by hand")


def live_at(container: Container, name: str, at: datetime, alias: str = names.CHAMPION) -> Live:
    """What an alias pointed to at a time, and what the model's deployment served then.

    Raises:
        NotFound: the ledger knows no such model.
    """
    ledger = container.ledger
    then = Ref("model", _name_at(container, name, at))
    found = ledger.find(subject=str(then.at(alias)), kinds=[MOVED], until=at, limit=1)
    if not found and not ledger.find(subject=str(Ref("model", name)), limit=1):
        raise NotFound(f"the ledger knows no model/{name}", remedy="homeostat models ls lists them")
    served = ledger.find(
        subject=str(Ref("deployment", name)), kinds=["deployment.changed"], until=at, limit=1
    )
    return _live(name, alias, at, found[0] if found else None, served[0].body["arms"] if served else [])


def _live(name: str, alias: str, at: datetime, moved: Event | None, arms: list[dict[str, Any]]) -> Live:
    if moved is None:
        return Live(model=name, alias=alias, at=at, arms=arms)
    return Live(
        model=name,
        alias=alias,
        at=at,
        version=moved.body["to"],
        since=moved.at,
        actor=moved.actor,
        reason=moved.body["reason"],
        event=moved.seq,
        arms=arms,
    )


def _name_at(container: Container, name: str, at: datetime) -> str:
    """What a model was called at a time: the renamings since then, undone from the last on."""
    before = container.ledger.head().seq + 1
    while True:
        ref = str(Ref("model", name))
        events = container.ledger.find(subject=ref, kinds=[models.REGISTERED], limit=1000)
        later = [e for e in events if e.seq < before and e.at > at and "from" in e.body]
        if not later:
            return name
        name, before = later[0].body["from"], later[0].seq


def _promote(container: Container, name: str, number: int, actor: str) -> None:
    present = champion_of(container.store, name)
    if present is not None and present.version == number:
        return
    from homeostat.app.rollouts import promote

    try:
        promote(container, name, number, actor=actor, reason="its alias was set")
    except Conflict as error:
        raise BadRequest(error.message, field="version", remedy=error.remedy) from error
