"""Telling channels of alerts: who is to be told of an event, and the deliveries until it was taken.

What a channel is to be told is a record, committed before anything is sent; so a crash in between sends it again, under
the same id. Each channel has its own queue: one that is away delays nobody else. What comes about one subject within
moments goes out together. Times are real, since channels are.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from homeostat.app.alerts import (
    ACKNOWLEDGED,
    ESCALATED,
    OPENED,
    RESOLVED,
    find_alert,
    open_alert,
    resolve_alert,
)
from homeostat.app.channels import Channel
from homeostat.app.container import Container
from homeostat.app.silencing import ENDED, covers, silenced
from homeostat.domain.errors import HomeostatError
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.incidents import Moment, moments
from homeostat.domain.notices import Notice, Told
from homeostat.domain.records import Alert, Delivery, Silence
from homeostat.domain.refs import parse_ref
from homeostat.ports.meta import Transaction

TOLD: Final = frozenset({OPENED, ACKNOWLEDGED, ESCALATED, RESOLVED, ENDED})
_GATHER: Final = {"page": timedelta(seconds=2), "ticket": timedelta(seconds=30)}
_MOST: Final = 50
_UNREACHABLE: Final = 3  # attempts until that is an alert itself
_BACKOFF: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(minutes=5)


class ChannelStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A channel, and what it is still to be told."""

    name: str
    kind: str
    severity: str
    after: float | None  # seconds
    waiting: int
    failures: int
    error: str
    sent_at: datetime | None


class AlertShown(msgspec.Struct, frozen=True, kw_only=True):
    """An alert with its times, who was told of it, and why nobody is where it is silenced."""

    alert: Alert
    silenced: str
    deliveries: list[Delivery]
    times: list[Moment]


def tell(container: Container, event: Event) -> None:
    """Keep what every channel is to be told of an event; what was kept before stays as it is."""
    if event.kind == ENDED:
        ended = container.store.get(Silence, parse_ref(event.subject).name)
        alerts = container.store.find(Alert, ("state", "=", "open"), order=["opened_at"]) if ended else []
        for alert in alerts:
            if ended is not None and covers(ended, alert) and not silenced(container.store, alert):
                _keep(container, event, alert, OPENED)
        return
    found = container.store.get(Alert, parse_ref(event.subject).name)
    if found is not None:
        container.notifier.send(found)
        _keep(container, event, found, event.kind)


def _keep(container: Container, event: Event, alert: Alert, kind: str) -> None:
    if not container.channels:
        return
    with container.store.begin() as tx:
        told = {one.channel for one in tx.find(Delivery, ("alert", "=", alert.id))}
        quiet = silenced(tx, alert) is not None
        for channel in container.channels:
            wanted = _wants(channel, event, alert, kind, channel.name in told, quiet)
            if wanted and tx.get(Delivery, channel.name, event.seq, alert.id) is None:
                tx.insert(
                    Delivery(
                        channel=channel.name,
                        event=event.seq,
                        alert=alert.id,
                        transition=kind.partition(".")[2],
                        group=alert.subject,
                        severity=alert.severity,
                        state="waiting",
                        due_at=container.clock.wall() + _GATHER[alert.severity],
                    )
                )


def _wants(channel: Channel, event: Event, alert: Alert, kind: str, told: bool, quiet: bool) -> bool:
    """Whether a channel is to be told: of what is new by its declaration, of the rest where it knew of the alert."""
    if alert.subject == f"channel/{channel.name}":
        return False  # that it is away
    if kind in (ACKNOWLEDGED, RESOLVED):
        return told
    if kind == ESCALATED:
        return event.body.get("channel") == channel.name
    heard = alert.severity == "page" or channel.severity == "ticket"
    return heard and channel.after is None and not quiet and not told


def deliver(container: Container, channel: Channel) -> int:
    """Send a channel what is due, of each subject in order; returns how many transitions it took.

    Raises nothing for a channel that is away.
    """
    _gather(container, channel)
    now, sent = container.clock.wall(), 0
    waiting = container.store.find(
        Delivery,
        ("channel", "=", channel.name),
        ("state", "=", "waiting"),
        ("batch", "!=", ""),
        order=["event", "alert"],
    )
    batches: dict[str, list[Delivery]] = {}
    for one in waiting:
        batches.setdefault(one.batch, []).append(one)
    # Subjects of which something earlier waits: nobody hears of an end before the beginning.
    held: set[str] = set()
    for id, parts in batches.items():
        group = parts[0].group
        if group in held:
            continue
        if parts[0].due_at > now:
            held.add(group)
            continue
        error = _send(container, channel, id, parts)
        _settle(container, channel, id, error)
        if error:
            held.add(group)
        else:
            sent += len(parts)
    return sent


def shown(container: Container, id: str) -> AlertShown:
    """An alert, by its id or while it is open by its key.

    Raises:
        NotFound: there is none.
    """
    alert = find_alert(container.store, id)
    silence = silenced(container.store, alert) if alert.state == "open" else None
    return AlertShown(
        alert=alert,
        silenced=f"until {silence.until:%Y-%m-%d %H:%M}: {silence.reason}" if silence else "",
        deliveries=container.store.find(Delivery, ("alert", "=", alert.id), order=["event", "channel"]),
        times=moments(alert),
    )


def channels(container: Container) -> list[ChannelStanding]:
    """Every declared channel and how it stands."""
    out = []
    for one in container.channels:
        waiting = container.store.find(Delivery, ("channel", "=", one.name), ("state", "=", "waiting"))
        worst = max(waiting, key=lambda each: each.attempts, default=None)
        sent = container.store.find(
            Delivery, ("channel", "=", one.name), ("state", "=", "sent"), order=["-sent_at"], limit=1
        )
        out.append(
            ChannelStanding(
                name=one.name,
                kind=one.kind,
                severity=one.severity,
                after=one.after.total_seconds() if one.after else None,
                waiting=len(waiting),
                failures=worst.attempts if worst else 0,
                error=worst.error if worst else "",
                sent_at=sent[0].sent_at if sent else None,
            )
        )
    return out


def _gather(container: Container, channel: Channel) -> None:
    """Put what is due together with what else waits about the same subject, under an id that lasts."""
    now = container.clock.wall()
    loose = [("channel", "=", channel.name), ("state", "=", "waiting"), ("batch", "=", "")]
    if not container.store.count(Delivery, *loose, ("due_at", "<=", now)):  # type: ignore[arg-type] # conditions
        return
    with container.store.begin() as tx:
        waiting = tx.find(Delivery, *loose, order=["event", "alert"])  # type: ignore[arg-type] # conditions
        for group in {one.group for one in waiting if one.due_at <= now}:
            id = new_id(now)
            for one in [each for each in waiting if each.group == group][:_MOST]:
                tx.put(msgspec.structs.replace(one, batch=id, due_at=now))


def _send(container: Container, channel: Channel, id: str, parts: list[Delivery]) -> str:
    """Send one batch; what went wrong, if anything."""
    found = {one.alert: container.store.get(Alert, one.alert) for one in parts}
    told = [Told(one.event, one.transition, alert) for one in parts if (alert := found[one.alert])]
    pages = any(one.severity == "page" for one in parts)
    notice = Notice(
        id=id,
        group=parts[0].group,
        at=container.clock.wall(),
        severity="page" if pages else "ticket",
        told=told,
    )
    try:
        container.sender(channel).send(notice)
    except HomeostatError as error:
        return error.message
    except Exception as error:  # noqa: BLE001 - a library of a channel may raise anything; it is kept and tried again
        return type(error).__name__  # its words may hold the address, which is secret
    return ""


def _settle(container: Container, channel: Channel, id: str, error: str) -> None:
    now = container.clock.wall()
    with container.store.begin() as tx:
        parts = tx.find(Delivery, ("channel", "=", channel.name), ("batch", "=", id))
        attempts = max(one.attempts for one in parts) + 1
        wait = min(_BACKOFF * 2 ** min(attempts - 1, 20), _LONGEST)
        for one in parts:
            tx.put(
                msgspec.structs.replace(
                    one,
                    attempts=attempts,
                    error=error[:500],
                    due_at=now + wait if error else one.due_at,
                    state="waiting" if error else "sent",
                    sent_at=None if error else now,
                )
            )
        _reach(tx, container, channel, parts, attempts, error)


def _reach(
    tx: Transaction, container: Container, channel: Channel, parts: list[Delivery], attempts: int, error: str
) -> None:
    """An unreachable channel is an alert itself, of the rank of what it was not told."""
    key = f"channel:{channel.name}"
    if not error:
        resolve_alert(tx, container, key)
    elif attempts >= _UNREACHABLE:
        open_alert(
            tx,
            container,
            key=key,
            subject=f"channel/{channel.name}",
            severity="page" if any(one.severity == "page" for one in parts) else "ticket",
            summary=f"channel {channel.name} was not told of {parts[0].group}: {error}",
            action="it is tried again every 5 minutes or sooner; other channels and logs/alerts.jsonl have all of it",
            detail={"attempts": attempts, "first": parts[0].alert},
        )
