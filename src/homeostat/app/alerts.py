"""Alerts: opened once for what is wrong, resolved when it is right again; every transition is an event."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from homeostat.app.container import Container
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import Alert
from homeostat.ports.meta import Transaction


def open_alert(
    tx: Transaction,
    container: Container,
    *,
    key: str,
    subject: str,
    severity: Literal["ticket", "page"],
    summary: str,
    action: str,
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
        summary: What was seen, one sentence.
        action: What was done about it, or is proposed.
        detail: Numbers behind it.
        tags: Marks of what led to it.
    """
    if tx.find(Alert, ("key", "=", key), ("state", "=", "open"), limit=1):
        return False
    now = container.clock.now()
    alert = Alert(
        id=new_id(container.clock.wall()),
        key=key,
        subject=subject,
        severity=severity,
        state="open",
        summary=summary,
        action=action,
        opened_at=now,
        detail=detail or {},
        tags=tags or {},
    )
    tx.insert(alert)
    body = {
        "subject": subject,
        "severity": severity,
        "summary": summary,
        "action": action,
        "tags": alert.tags,
    }
    tx.append(Event(kind="alert.opened", subject=f"alert/{alert.id}", at=now, body=body))
    return True


def add_detail(container: Container, key: str, detail: dict[str, Any]) -> None:
    """Add to what the open alert of a key holds: what is only known once something was done about it."""
    with container.store.begin() as tx:
        for alert in tx.find(Alert, ("key", "=", key), ("state", "=", "open")):
            tx.put(msgspec.structs.replace(alert, detail=alert.detail | detail))


def resolve_alert(tx: Transaction, container: Container, key: str) -> bool:
    """Resolve the open alert of a key; says whether there was one."""
    for alert in tx.find(Alert, ("key", "=", key), ("state", "=", "open")):
        now = container.clock.now()
        tx.put(msgspec.structs.replace(alert, state="resolved", resolved_at=now))
        body = {"subject": alert.subject, "summary": alert.summary, "tags": alert.tags}
        tx.append(Event(kind="alert.resolved", subject=f"alert/{alert.id}", at=now, body=body))
        return True
    return False
