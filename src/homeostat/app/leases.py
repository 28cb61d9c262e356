"""Leases: who runs what, and what to do when the one who ran it is gone.

A lease of this machine is dead when its process is gone or another one has its pid; a lease of another machine
when its heartbeat is older than ``SILENCE``. Names of machines are not enough to tell them apart: copies of one, and
containers, have the same.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Final, Literal

import msgspec
import psutil

from homeostat.adapters.online.boot import boot_id
from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.running import born
from homeostat.domain.durations import format_duration
from homeostat.domain.errors import StoreUnavailable
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import Alert, Lease
from homeostat.ports.meta import Transaction, Where

SILENCE: Final = timedelta(seconds=60)
LOST: Final = "process.lost"
_OFTEN: Final = 3
_LATELY: Final = timedelta(hours=1)
_RENEWED: Final = 10.0
_MOMENT: Final = 1.0
_SERVERS: Final = ("postgresql:",)
_PIDS: Final = Path("/proc/self/ns/pid")

_log = logging.getLogger(__name__)


def shared(container: Container) -> bool:
    """Whether the store is one that several machines may have."""
    return container.settings.store.startswith(_SERVERS)


@cache
def machine() -> tuple[str, str]:
    """Where processes have numbers that mean the same: a name, and one start of one system (or container)."""
    pids = _PIDS.readlink().name if _PIDS.exists() else ""
    return socket.gethostname(), f"{boot_id()} {pids}".strip()


def lease_of(
    container: Container,
    role: Literal["control", "worker", "job"],
    subject: str,
    *,
    address: str = "",
) -> Lease:
    """A lease for this process, to be put in the transaction of what it does."""
    process = psutil.Process()
    host, boot = machine()
    now = container.clock.wall()
    return Lease(
        id=new_id(now),
        role=role,
        subject=subject,
        host=host,
        boot=boot,
        pid=os.getpid(),
        address=address,
        heartbeat=now,
        detail={"started": process.create_time(), "born": born(process), "taken": now.timestamp()},
    )


def hold(
    container: Container, role: Literal["control", "worker", "job"], subject: str, *, address: str = ""
) -> Lease:
    """Take a lease for this process."""
    lease = lease_of(container, role, subject, address=address)
    with container.store.begin() as tx:
        tx.put(lease)
    return lease


def take_over(tx: Transaction, container: Container, lease: Lease) -> None:
    """Put a lease that has a name of its own in the place of that of an earlier process, whose end is recorded."""
    found = tx.lock(Lease, lease.id)
    if found is not None and not same(found, lease):
        tell_lost(tx, container, found)
    tx.put(lease)


@contextmanager
def renewing(container: Container, lease: Lease) -> Iterator[None]:
    """Let other machines see meanwhile that the holder lives. On this one its process is proof enough."""
    stop = Flag()

    def renew() -> None:
        while not stop.wait(_RENEWED):
            try:
                with container.store.begin() as tx:
                    if tx.lock(Lease, lease.id) is None:
                        return  # it was given up for dead
                    tx.put(msgspec.structs.replace(lease, heartbeat=container.clock.wall()))
            except StoreUnavailable as error:
                _log.warning("no heartbeat of %s, it is tried again: %s", lease.subject, error)

    thread = Thread(target=renew, daemon=True, name="heartbeat")
    if shared(container):
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()


def taken_at(lease: Lease) -> datetime:
    """When it was taken, in real time."""
    return datetime.fromtimestamp(lease.detail["taken"], UTC)


def release(container: Container, lease: Lease) -> None:
    """Give the lease back."""
    with container.store.begin() as tx:
        tx.delete(Lease, ("id", "=", lease.id))


def release_own(container: Container, role: Literal["control", "worker", "job"]) -> None:
    """Give back whatever this process holds in a role."""
    host, boot = machine()
    of_this: list[Where] = [
        ("role", "=", role),
        ("host", "=", host),
        ("boot", "=", boot),
        ("pid", "=", os.getpid()),
    ]
    with container.store.begin() as tx:
        tx.delete(Lease, *of_this)


def same(one: Lease, other: Lease) -> bool:
    """Whether two leases are those of one process."""
    apart = abs(float(one.detail["born"]) - float(other.detail["born"]))
    return (one.host, one.boot, one.pid) == (other.host, other.boot, other.pid) and apart < _MOMENT


def here(lease: Lease) -> bool:
    """Whether its process is, or was, one of this machine since it started."""
    return (lease.host, lease.boot) == machine()


def alive(container: Container, lease: Lease) -> bool:
    """Whether the holder of ``lease`` still runs."""
    if not here(lease):
        # Of a store that one machine has, it is this one before it started anew.
        before = lease.host == socket.gethostname() and not shared(container)
        return not before and container.clock.wall() - lease.heartbeat < SILENCE
    try:
        holder = born(psutil.Process(lease.pid))
    except psutil.Error:
        return False
    return bool(abs(holder - float(lease.detail["born"])) < _MOMENT)


def reap(container: Container) -> list[Lease]:
    """Remove the leases of the dead and return them; each is returned to one caller only.

    Of servers it is an event. What jobs ran says so itself.
    """
    dead = [lease for lease in container.store.find(Lease) if not alive(container, lease)]
    if not dead:
        return []
    with container.store.begin() as tx:
        # One that was renewed meanwhile is not dead, nor one that another process took over.
        gone = [
            lease
            for lease in dead
            if tx.delete(
                Lease, ("id", "=", lease.id), ("pid", "=", lease.pid), ("heartbeat", "=", lease.heartbeat)
            )
        ]
        for lease in gone:
            if lease.role != "job":
                tell_lost(tx, container, lease)
        return gone


def tell_lost(tx: Transaction, container: Container, lease: Lease) -> None:
    """Record that a server died, and open a ticket for one that does so often."""
    now = container.clock.now()
    subject = lease.subject if "/" in lease.subject else f"worker/{lease.subject}"
    body = {"pid": lease.pid, "host": lease.host, "heartbeat": lease.heartbeat.isoformat()}
    tx.append(Event(kind=LOST, subject=subject, at=now, body=body))
    before = container.ledger.find(subject=subject, kinds=[LOST], limit=_OFTEN)
    lately = [event for event in before if now - event.at < _LATELY]
    if len(lately) >= _OFTEN - 1:
        open_alert(
            tx,
            container,
            key=f"dying:{subject}",
            subject=subject,
            severity="ticket",
            summary=f"{subject} lost its process {len(lately) + 1} times within {format_duration(_LATELY)}",
            action="it was started again each time; logs in the home say why it ended",
            onset=lately[-1].at,
        )


def settle_dying(container: Container) -> None:
    """Resolve the tickets of servers that have not died for a while."""
    now = container.clock.now()
    for alert in container.store.find(Alert, ("state", "=", "open")):
        if alert.key.startswith("dying:"):
            last = container.ledger.find(subject=alert.subject, kinds=[LOST], limit=1)
            if not last or not timedelta(0) <= now - last[0].at < _LATELY:
                with container.store.begin() as tx:
                    resolve_alert(tx, container, alert.key)
