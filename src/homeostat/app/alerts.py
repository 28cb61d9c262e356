"""Alerts: opened once for what is wrong, resolved when it is right again; every transition is an event.

A repeat of what is open stands: nothing new is opened. An alert that somebody acknowledged escalates no further.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from homeostat.app.container import Container
from homeostat.app.suspecting import suspects_of
from homeostat.domain.errors import Conflict, NotFound
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.incidents import moments
from homeostat.domain.records import Alert
from homeostat.ports.meta import Reads, Transaction

OPENED: Final = "alert.opened"
ACKNOWLEDGED: Final = "alert.acknowledged"
ESCALATED: Final = "alert.escalated"
RESOLVED: Final = "alert.resolved"


def open_alert(
    tx: Transaction,
    container: Container,
    *,
    key: str,
    subject: str,
    severity: Literal["ticket", "page"],
    summary: str,
    action: str,
    onset: datetime | None = None,
    decision: str = "",
    detail: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> bool:
    """Open an alert unless one of the same key is open; says whether it did.

    Args:
        tx: The transaction of what it is about.
        container: The ports.
        key: What makes repeats one alert.
        subject: A reference to what it is about.
        severity: ``page`` when a promise to users is being broken, else ``ticket``.
        summary: What was seen, one sentence; of several lines the first, the others are kept as a detail.
        action: What was done about it, or is proposed.
        onset: When what is wrong began, where that is known; changes before it are suspected.
        decision: What was done at once; empty where a version has to be trained, or a person has to act.
        detail: Numbers behind it.
        tags: Marks of what led to it.
    """
    if is_open(tx, key):
        return False
    tx.lock(Alert, key)  # its name is held: who opened one meanwhile is waited for, and theirs is found
    if is_open(tx, key):
        return False
    now = container.clock.now()
    # What raised may have said it at length; what tells of alerts has a line for each.
    seen, *more = summary.strip().split("\n", 1)
    alert = Alert(
        id=new_id(container.clock.wall()),
        key=key,
        subject=subject,
        severity=severity,
        state="open",
        summary=seen,
        action=action,
        opened_at=now,
        onset=onset,
        decision=decision,
        decided_at=now if decision else None,
        suspects=suspects_of(container, tx, subject, onset or now),
        detail=(detail or {}) | ({"more": more[0]} if more else {}),
        tags=tags or {},
    )
    tx.insert(alert)
    body = {
        "subject": subject,
        "severity": severity,
        "summary": seen,
        "action": action,
        "tags": alert.tags,
    }
    tx.append(Event(kind=OPENED, subject=f"alert/{alert.id}", at=now, body=body))
    return True


def is_open(store: Reads, key: str) -> bool:
    """Whether an alert of a key is open."""
    return bool(store.find(Alert, ("key", "=", key), ("state", "=", "open"), limit=1))


def add_detail(container: Container, key: str, detail: dict[str, Any]) -> None:
    """Add to what the open alert of a key holds: what is only known once something was done about it."""
    with container.store.begin() as tx:
        if (alert := _open_of(tx, key)) is not None:
            tx.put(msgspec.structs.replace(alert, detail=alert.detail | detail))


def resolve_alert(tx: Transaction, container: Container, key: str) -> bool:
    """Resolve the open alert of a key; says whether there was one."""
    alert = _open_of(tx, key)
    if alert is None:
        return False
    now = container.clock.now()
    times = {one.what: one.at.isoformat() for one in moments(alert)} | {"healed": now.isoformat()}
    body = {"subject": alert.subject, "summary": alert.summary, "tags": alert.tags, "times": times}
    _change(tx, alert, RESOLVED, now, "system", body, state="resolved", resolved_at=now)
    return True


def _open_of(tx: Transaction, key: str) -> Alert | None:
    """The open alert of a key, held until the transaction ends: others acknowledge it meanwhile."""
    for found in tx.find(Alert, ("key", "=", key), ("state", "=", "open")):
        alert = tx.lock(Alert, found.id)
        if alert is not None and alert.state == "open":
            return alert
    return None


def acknowledge(container: Container, id: str, *, actor: str = "user", reason: str = "") -> Alert:
    """Say that somebody looks after an alert: it escalates no further.

    Raises:
        NotFound: there is no such alert.
        Conflict: it is resolved, or somebody looks after it already.
    """
    with container.store.begin() as tx:
        alert = tx.lock(Alert, find_alert(tx, id).id)
        assert alert is not None  # alerts are never removed
        if alert.state == "resolved":
            raise Conflict(
                f"alert/{alert.id} is resolved", remedy="homeostat alerts ls shows those that are open"
            )
        if alert.acknowledged_at is not None:
            raise Conflict(
                f"alert/{alert.id} was acknowledged by {alert.acknowledged_by}",
                remedy="Nothing is left to do",
            )
        now = container.clock.now()
        body = {"subject": alert.subject, "summary": alert.summary, "reason": reason}
        return _change(tx, alert, ACKNOWLEDGED, now, actor, body, acknowledged_at=now, acknowledged_by=actor)


def escalate(container: Container, id: str, channel: str) -> None:
    """Have a further channel told of an open alert that nobody acknowledged; once."""
    with container.store.begin() as tx:
        alert = tx.lock(Alert, id)
        if alert is None or alert.state == "resolved" or alert.acknowledged_at or channel in alert.escalated:
            return
        body = {"subject": alert.subject, "summary": alert.summary, "channel": channel}
        now = container.clock.now()
        _change(tx, alert, ESCALATED, now, "system", body, escalated=[*alert.escalated, channel])


def alerts(container: Container, *, state: str = "", limit: int = 100) -> list[Alert]:
    """Alerts, the newest first; of one state, or of all."""
    where: Any = [("state", "=", state)] if state else []
    return container.store.find(Alert, *where, order=["-opened_at"], limit=limit)


def find_alert(store: Reads, id: str) -> Alert:
    """An alert by its id, or by its key while it is open.

    Raises:
        NotFound: there is none.
    """
    name = id.removeprefix("alert/")
    found = store.get(Alert, name)
    if found is None:
        found = next(iter(store.find(Alert, ("key", "=", name), ("state", "=", "open"), limit=1)), None)
    if found is None:
        raise NotFound(f"there is no alert/{name}", remedy="homeostat alerts ls --all lists them")
    return found


def _change(
    tx: Transaction,
    alert: Alert,
    kind: str,
    at: datetime,
    actor: str,
    body: dict[str, Any],
    **fields: Any,
) -> Alert:
    changed = msgspec.structs.replace(alert, **fields)
    tx.put(changed)
    tx.append(Event(kind=kind, subject=f"alert/{alert.id}", at=at, actor=actor, body=body))
    return changed
