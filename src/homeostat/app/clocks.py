"""The machine's clock was set back: what was dated by it then lies in the future, and would hold up what goes by time.

The controller keeps how far its clock came. Once it is behind that, times of records that lie ahead are moved to just
before now, in their order, so that cooldowns, looks, budgets and escalations go on from here; events of the ledger stay
as they were. Where the clock was ahead by no more than a day, schedules do not count an occasion a second time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from homeostat.app.alerts import open_alert
from homeostat.app.container import Container
from homeostat.domain.durations import format_duration
from homeostat.domain.events import Event
from homeostat.domain.records import (
    Alert,
    Alias,
    Cursor,
    Evaluation,
    Message,
    Project,
    Record,
    Rollout,
    Run,
    Tallied,
    Window,
)
from homeostat.domain.trials import Probation, Trial
from homeostat.ports.meta import Transaction, Where

SET_BACK: Final = "clock.set-back"
_REACHED: Final = "clock"
_NOTED_EVERY: Final = 60  # seconds; by less it may be behind unnoticed
_AGAIN: Final = timedelta(days=1)
_JUST: Final = timedelta(seconds=1)
_DATED: Final[tuple[tuple[type[Record], tuple[str, ...]], ...]] = (
    (Run, ("created_at", "started_at", "ended_at")),
    (Evaluation, ("at",)),
    (Message, ("at",)),
    (Alias, ("at",)),
    (Project, ("applied_at",)),
    (Rollout, ("began_at",)),
    (Trial, ("began_at",)),
    (Probation, ("began_at",)),
    (Alert, ("opened_at", "onset", "candidate_at", "decided_at", "resolved_at")),
    (Tallied, ("at",)),
    (Window, ("end", "start")),
)
"""Records that decisions go by, and their times."""


def keep_time(container: Container) -> list[str]:
    """Note how far the clock came; where it was set back, go on from there. Says what was done."""
    if container.settings.clock == "simulated":  # it cannot go back
        return []
    store, now = container.store, container.clock.now()
    known = store.get(Cursor, _REACHED)
    seconds = int(now.timestamp())
    if known is not None and 0 <= seconds - known.seq < _NOTED_EVERY:
        return []
    with store.begin() as tx:
        tx.put(Cursor(name=_REACHED, seq=seconds))
        if known is None or seconds >= known.seq - _NOTED_EVERY:
            return []
        reached = datetime.fromtimestamp(known.seq, UTC)
        moved = _redate(tx, now)
        by = format_duration(timedelta(seconds=known.seq - seconds))
        body = {"reached": reached.isoformat(), "records": moved}
        tx.append(Event(kind=SET_BACK, subject="trigger/clock", at=now, body=body))
        open_alert(
            tx,
            container,
            key=f"clock:{reached.isoformat()}",
            subject="trigger/clock",
            severity="ticket",
            summary=f"the clock was set back by {by}, from {reached:%Y-%m-%d %H:%M:%S} on",
            action="what it had dated counts as of now; look at how this machine keeps its time",
            decision="what it had dated counts as of now",
            detail={"records": moved},
        )
    return [f"the clock was set back by {by}: {moved} records count as of now"]


def settled(container: Container) -> datetime | None:
    """Up to when schedules were looked at before the clock was set back; None where that is past or long ahead."""
    found = container.ledger.find(subject="trigger/clock", kinds=[SET_BACK], limit=1)
    if not found:
        return None
    reached = datetime.fromisoformat(found[0].body["reached"])
    return reached if container.clock.now() < reached <= found[0].at + _AGAIN else None


def _redate(tx: Transaction, now: datetime) -> int:
    """Move what lies ahead to just before now; what was at one time stays so. Returns how many records it was."""
    ahead: list[tuple[Any, tuple[str, ...]]] = []
    for kind, names in _DATED:
        of: list[Where] = [("kind", "=", "train")] if kind is Run else []
        found = {
            tuple(getattr(one, key) for key in one.KEY): one
            for name in names  # any of them may lie ahead alone, as the end of what began before
            for one in tx.find(kind, (name, ">", now), *of)
        }
        ahead += [(one, names) for one in found.values()]
    times = [
        at for one, names in ahead for name in names if (at := getattr(one, name)) is not None and at > now
    ]
    if not times:
        return 0
    last = max(times)

    def moved(at: datetime | None) -> datetime | None:
        return at if at is None or at <= now else now - _JUST * ((last - at) / (last - now))

    windows = []
    for one, names in ahead:
        fields = {name: moved(getattr(one, name)) for name in names}
        key: list[Where] = [(name, "=", getattr(one, name)) for name in one.KEY]
        if isinstance(one, Window):  # its time is part of its key
            tx.delete(Window, *key)
            windows.append(msgspec.structs.replace(one, **fields))
        else:
            tx.update(type(one), fields, *key)
    tx.put(*windows)
    return len(ahead)
