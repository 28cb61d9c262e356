"""Deprecated versions: told of with a date, after which they are not deployed anew. What serves goes on serving.

Who deploys one before its date is warned by an alert, which ends when another version takes its place.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.registry.reading import VersionShown, no_version, resolve, version
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.events import Event
from homeostat.domain.records import Deployment, Deprecation, ModelVersion
from homeostat.domain.refs import Ref, parse_ref
from homeostat.engine.registry import names
from homeostat.engine.tracking import limits
from homeostat.ports.meta import Reads, Transaction

DEPRECATED: Final = "model.deprecated"
RESTORED: Final = "model.deprecation-undone"


def deprecate(
    container: Container,
    model: str,
    at: str,
    *,
    on: datetime,
    reason: str,
    use: str = "",
    actor: str = "user",
) -> VersionShown:
    """Say from when on a version is not to be deployed anew; said again, it replaces what was said before.

    Args:
        container: The ports.
        model: The model's name.
        at: The version's number, or an alias.
        on: From when on.
        reason: Why, in a sentence.
        use: The version to take in its place, as ``churn@4``; empty: none is named.
        actor: Who says so.

    Raises:
        NotFound: there is no such version, or none that ``use`` names.
        BadRequest: no reason is given, or a version is to replace itself.
    """
    reason = reason.strip()
    if not reason:
        raise BadRequest(
            "a deprecation without a reason", field="reason", remedy="Give a reason in a sentence"
        )
    limits.check_length(reason, names.DESCRIPTION, "reason")
    record = resolve(container.store, model, at).record
    ref = Ref("model", record.model).at(record.version)
    instead = str(_instead(container, ref, use)) if use else ""
    with container.store.begin() as tx:
        tx.lock(Deployment, record.model)  # before the version, as everywhere
        _locked(tx, record)
        now = container.clock.now()
        tx.put(
            Deprecation(
                model=record.model,
                version=record.version,
                on=on,
                reason=reason,
                use=instead,
                actor=actor,
                at=now,
            )
        )
        body = {"on": on.isoformat(), "reason": reason} | ({"use": instead} if instead else {})
        tx.append(Event(kind=DEPRECATED, subject=str(ref), at=now, actor=actor, body=body))
        warn(tx, container, tx.get(Deployment, record.model))
    return version(container.store, record.model, record.version)


def undo(container: Container, model: str, at: str, *, reason: str = "", actor: str = "user") -> VersionShown:
    """Take a deprecation back.

    Raises:
        NotFound: there is no such version.
        Conflict: it is not deprecated.
    """
    record = resolve(container.store, model, at).record
    ref = Ref("model", record.model).at(record.version)
    with container.store.begin() as tx:
        tx.lock(Deployment, record.model)
        _locked(tx, record)
        if not tx.delete(Deprecation, ("model", "=", record.model), ("version", "=", record.version)):
            raise Conflict(f"{ref} is not deprecated", remedy=f"homeostat models show {record.model}")
        body = {"reason": reason} if reason else {}
        tx.append(Event(kind=RESTORED, subject=str(ref), at=container.clock.now(), actor=actor, body=body))
        resolve_alert(tx, container, _key(record.model, record.version))
    return version(container.store, record.model, record.version)


def of(reads: Reads, model: str, number: int) -> Deprecation | None:
    """What was said of a version; None: nothing."""
    return reads.get(Deprecation, model, number)


def told(found: Deprecation) -> str:
    """A deprecation as a sentence."""
    use = f"; use {found.use} instead" if found.use else ""
    return f"deprecated from {found.on:%Y-%m-%d} on: {found.reason}{use}"


def over(container: Container, reads: Reads, model: str, number: int) -> str:
    """Why a version is not deployed anew any more, as a sentence; empty: it may be."""
    found = of(reads, model, number)
    return f"it is {told(found)}" if found is not None and found.on <= container.clock.now() else ""


def warn(tx: Transaction, container: Container, deployment: Deployment | None) -> None:
    """Open an alert for each deprecated version that a deployment serves, and resolve those of the others."""
    if deployment is None:
        return
    served = {arm.version for arm in deployment.arms}
    for found in tx.find(Deprecation, ("model", "=", deployment.model)):
        key = _key(found.model, found.version)
        if found.version not in served:
            resolve_alert(tx, container, key)
            continue
        ref = Ref("model", found.model).at(found.version)
        open_alert(
            tx,
            container,
            key=key,
            subject=str(ref),
            severity="ticket",
            summary=f"deployment/{deployment.name} serves {ref}, which is {told(found)}",
            action=f"Promote {found.use}" if found.use else "Train, and promote another version",
        )


def _instead(container: Container, ref: Ref, use: str) -> Ref:
    named = parse_ref(use if use.startswith("model/") else f"model/{use}")
    found = resolve(container.store, named.name, named.version).record
    instead = Ref("model", found.model).at(found.version)
    if instead == ref:
        raise BadRequest(f"{ref} cannot replace itself", field="use", remedy="Name another version")
    return instead


def _locked(tx: Transaction, record: ModelVersion) -> None:
    if tx.lock(ModelVersion, record.model, record.version) is None:
        raise no_version(record.model, record.version)


def _key(model: str, number: int) -> str:
    return f"deprecated:{model}@{number}"
