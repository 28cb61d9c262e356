"""Leases: who runs what, and what to do when the one who ran it is gone.

A lease of this machine is dead when its process is gone or another one has its pid; a lease of another machine
when its heartbeat is older than ``SILENCE``.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Final, Literal

import psutil

from homeostat.adapters.online.boot import boot_id
from homeostat.app.alerts import open_alert, resolve_alert
from homeostat.app.container import Container
from homeostat.app.running import born
from homeostat.domain.durations import format_duration
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import Alert, Lease
from homeostat.ports.meta import Transaction, Where

SILENCE: Final = timedelta(seconds=60)
LOST: Final = "process.lost"
_OFTEN: Final = 3
_LATELY: Final = timedelta(hours=1)


def lease_of(
    container: Container,
    role: Literal["control", "worker", "job"],
    subject: str,
    *,
    address: str = "",
) -> Lease:
    """A lease for this process, to be put in the transaction of what it does."""
    process = psutil.Process()
    return Lease(
        id=new_id(container.clock.wall()),
        role=role,
        subject=subject,
        host=socket.gethostname(),
        boot=boot_id(),
        pid=os.getpid(),
        address=address,
        heartbeat=container.clock.wall(),
        detail={"started": process.create_time(), "born": born(process)},
    )


def hold(
    container: Container, role: Literal["control", "worker", "job"], subject: str, *, address: str = ""
) -> Lease:
    """Take a lease for this process."""
    lease = lease_of(container, role, subject, address=address)
    with container.store.begin() as tx:
        tx.put(lease)
    return lease


def release(container: Container, lease: Lease) -> None:
    """Give the lease back."""
    with container.store.begin() as tx:
        tx.delete(Lease, ("id", "=", lease.id))


def release_own(container: Container, role: Literal["control", "worker", "job"]) -> None:
    """Give back whatever this process holds in a role."""
    of_this: list[Where] = [
        ("role", "=", role),
        ("host", "=", socket.gethostname()),
        ("pid", "=", os.getpid()),
    ]
    with container.store.begin() as tx:
        tx.delete(Lease, *of_this)


def alive(container: Container, lease: Lease) -> bool:
    """Whether the holder of ``lease`` still runs."""
    if lease.host != socket.gethostname():
        return container.clock.wall() - lease.heartbeat < SILENCE
    if lease.boot != boot_id():
        return False
    try:
        holder = born(psutil.Process(lease.pid))
    except psutil.Error:
        return False
    return bool(abs(holder - float(lease.detail.get("born", holder))) < 1.0)


def reap(container: Container) -> list[Lease]:
    """Remove the leases of the dead and return them; each is returned to one caller only.

    Of servers it is an event. What jobs ran says so itself.
    """
    dead = [lease for lease in container.store.find(Lease) if not alive(container, lease)]
    if not dead:
        return []
    with container.store.begin() as tx:
        gone = [lease for lease in dead if tx.delete(Lease, ("id", "=", lease.id), ("pid", "=", lease.pid))]
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
