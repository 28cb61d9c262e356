"""Leases: who runs what, and what to do when the one who ran it is gone.

A lease of this machine is dead when its process is gone or another one has its pid; a lease of another machine
when its heartbeat is older than ``SILENCE``.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Final, Literal

import msgspec
import psutil

from homeostat.adapters.online.boot import boot_id
from homeostat.app.container import Container
from homeostat.app.running import born
from homeostat.domain.ids import new_id
from homeostat.domain.records import Lease
from homeostat.ports.meta import Where

SILENCE: Final = timedelta(seconds=60)


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


def beat(container: Container, lease: Lease) -> None:
    """Say that this process still lives."""
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(lease, heartbeat=container.clock.wall()))


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
    """Remove the leases of the dead and return them; each is returned to one caller only."""
    dead = [lease for lease in container.store.find(Lease) if not alive(container, lease)]
    if not dead:
        return []
    with container.store.begin() as tx:
        return [lease for lease in dead if tx.delete(Lease, ("id", "=", lease.id), ("pid", "=", lease.pid))]
