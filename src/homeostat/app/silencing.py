"""Silences and maintenance windows: times in which nobody is told of some alerts.

Alerts open, are resolved and are recorded all the same. What is still open when a silence ends is told then.
"""

from __future__ import annotations

from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import Alert, Silence
from homeostat.ports.meta import Reads, Transaction

CREATED: Final = "silence.created"
BEGAN: Final = "silence.began"
ENDED: Final = "silence.ended"


def silence(
    container: Container,
    *,
    until: datetime,
    reason: str,
    subject: str = "*",
    key: str = "*",
    begins_at: datetime | None = None,
    actor: str = "user",
) -> Silence:
    """Tell nobody of alerts whose subject and key match, until then; from ``begins_at`` on it is maintenance.

    Raises:
        BadRequest: it would end before it begins, has no reason, or a time has no zone.
    """
    now = container.clock.now()
    for name, at in (("until", until), ("begins_at", begins_at)):
        if at is not None and at.tzinfo is None:
            raise BadRequest(
                f"{name} has no time zone", field=name, remedy="Write it as 2026-01-01T00:00:00Z"
            )
    begins = max(begins_at or now, now)
    if until <= begins:
        raise BadRequest(
            f"the silence would end at {until:%Y-%m-%d %H:%M}, before it begins",
            field="until",
            remedy="Give a later time",
        )
    if not reason.strip():
        raise BadRequest("a silence needs a reason", field="reason", remedy="Say why nobody is to be told")
    made = Silence(
        id=new_id(container.clock.wall()),
        kind="silence" if begins_at is None else "maintenance",
        subject=subject,
        key=key,
        begins_at=begins,
        until=until,
        state="active" if begins <= now else "announced",
        reason=reason,
        actor=actor,
    )
    body = {"subject": subject, "key": key, "begins_at": begins, "until": until, "reason": reason}
    with container.store.begin() as tx:
        tx.insert(made)
        _tell(tx, made, CREATED, now, actor, msgspec.to_builtins(body))
    return made


def end_silence(container: Container, id: str, *, actor: str = "user") -> Silence:
    """End a silence before its time.

    Raises:
        NotFound: there is no such silence.
        Conflict: it has ended.
    """
    with container.store.begin() as tx:
        found = tx.lock(Silence, id.removeprefix("silence/"))
        if found is None:
            raise NotFound(f"there is no silence/{id}", remedy="homeostat alerts silences lists them")
        if found.state == "ended":
            raise Conflict(f"silence/{found.id} has ended", remedy="Nothing is left to do")
        return _move(tx, container, found, "ended", actor)


def silences(container: Container, *, ended: bool = False) -> list[Silence]:
    """Silences that are active or announced, the next to end first; with ``ended``, every one."""
    states = ["announced", "active", *(["ended"] if ended else [])]
    return container.store.find(Silence, ("state", "in", states), order=["until"])


def settle_silences(container: Container) -> list[str]:
    """Begin and end silences whose time has come; says which."""
    now, did = container.clock.now(), []
    for one in silences(container):
        state = "ended" if one.until <= now else "active" if one.begins_at <= now else one.state
        if state != one.state:
            with container.store.begin() as tx:
                current = tx.lock(Silence, one.id)
                if current == one:
                    _move(tx, container, one, state, "system")
                    did.append(f"silence/{one.id} {'ended' if state == 'ended' else 'began'}")
    return did


def covers(one: Silence, alert: Alert) -> bool:
    """Whether a silence is about an alert, active or not."""
    return fnmatchcase(alert.subject, one.subject) and fnmatchcase(alert.key, one.key)


def silenced(store: Reads, alert: Alert) -> Silence | None:
    """The active silence that covers an alert."""
    active = store.find(Silence, ("state", "=", "active"))
    return next((one for one in active if covers(one, alert)), None)


def _move(tx: Transaction, container: Container, one: Silence, state: str, actor: str) -> Silence:
    moved = msgspec.structs.replace(one, state=state)
    tx.put(moved)
    body = {"subject": one.subject, "key": one.key, "reason": one.reason}
    _tell(tx, moved, ENDED if state == "ended" else BEGAN, container.clock.now(), actor, body)
    return moved


def _tell(tx: Transaction, one: Silence, kind: str, at: datetime, actor: str, body: dict[str, Any]) -> None:
    tx.append(Event(kind=kind, subject=f"silence/{one.id}", at=at, actor=actor, body=body))
