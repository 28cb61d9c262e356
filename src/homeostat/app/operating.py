"""What serving takes: how busy model servers are, and what 1,000 predictions cost.

Model servers tell their counters with each heartbeat. What was added since the last reading goes into hours, which add,
whatever dies or begins anew in between. Times are real: processors know no other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.workers import workers
from homeostat.domain.records import Lease, Usage
from homeostat.ports.meta import Reads

BUSY: Final = 0.9
_OVER: Final = timedelta(minutes=10)
_DAY: Final = timedelta(days=1)
_KEPT: Final = timedelta(days=32)
_EVERY: Final = timedelta(minutes=1)
_KEY: Final = "saturation"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What serving took over the last day.

    Args:
        servers: Model servers that run now.
        busy: Processors that they kept busy, of one each: 0 to 1, above where one uses several; None: nothing known.
        cpu_seconds: Time of processors.
        rows: Predictions.
        cost_per_1000: Of predictions, at the declared price; None without a price or predictions.
        currency: Of the price.
    """

    servers: int
    busy: float | None
    cpu_seconds: float
    rows: int
    cost_per_1000: float | None
    currency: str


def operate(container: Container) -> None:
    """Read the counters of model servers once a minute, and tell when they are too busy to take more."""
    servers = workers(container)
    fresh = [found for lease in servers if (found := _read(container, lease)) is not None]
    if not fresh:
        return
    now = container.clock.wall()
    with container.store.begin() as tx:
        tx.put(*fresh)
        tx.delete(Usage, ("hour", "<", now - _KEPT))
        newest = [_last(tx, lease) for lease in servers]
        begun = [one for one in newest if one is not None and one.seconds >= _OVER.total_seconds()]
        busiest = max(begun, key=lambda one: one.cpu / one.seconds, default=None)
        if busiest is None:
            return
        busy = busiest.cpu / busiest.seconds
        if busy < BUSY:
            resolve_alert(tx, container, _KEY)
            return
        open_alert(
            tx,
            container,
            key=_KEY,
            subject=busiest.process,
            severity="ticket",
            summary=f"{busiest.process} keeps {busy:.0%} of a processor busy since {busiest.hour:%H:%M}",
            action="nothing was done; set HOMEOSTAT_WORKERS to more, where there are processors for them",
            detail={"cpu_seconds": busiest.cpu, "seconds": busiest.seconds, "rows": busiest.rows},
        )


def operation(container: Container) -> Operation:
    """What serving took over the last day."""
    since = container.clock.wall() - _DAY
    found = container.store.find(Usage, ("hour", ">=", since))
    seconds, cpu, rows = (
        sum(one.seconds for one in found),
        sum(one.cpu for one in found),
        sum(one.rows for one in found),
    )
    price, _, currency = container.settings.cpu_price.partition(" ")
    cost = cpu / 3600 * float(price) / rows * 1000 if price and rows else None
    return Operation(
        servers=len(workers(container)),
        busy=cpu / seconds if seconds else None,
        cpu_seconds=cpu,
        rows=rows,
        cost_per_1000=cost,
        currency=currency,
    )


def _read(container: Container, lease: Lease) -> Usage | None:
    """The hour of a model server with what its heartbeat adds; None while there is nothing new to add."""
    if "cpu" not in lease.detail:
        return None
    cpu, rows = float(lease.detail["cpu"]), int(lease.detail["rows"])
    started, at = float(lease.detail["started"]), lease.heartbeat
    last = _last(container.store, lease)
    if last is not None and at - last.read_at < _EVERY:
        return None
    same = last is not None and last.started == started
    if last is not None and same:
        took, used, done = (at - last.read_at).total_seconds(), cpu - last.cpu_read, rows - last.rows_read
    else:
        took, used, done = max(at.timestamp() - started, 0.0), cpu, rows
    hour = _hour(at)
    before = last if last is not None and last.hour == hour else None
    return Usage(
        process=lease.subject,
        hour=hour,
        seconds=took + (before.seconds if before else 0.0),
        cpu=used + (before.cpu if before else 0.0),
        rows=done + (before.rows if before else 0),
        started=started,
        cpu_read=cpu,
        rows_read=rows,
        read_at=at,
    )


def _last(reads: Reads, lease: Lease) -> Usage | None:
    """The newest hour of a model server."""
    found = reads.find(Usage, ("process", "=", lease.subject), order=["-hour"], limit=1)
    return found[0] if found else None


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
