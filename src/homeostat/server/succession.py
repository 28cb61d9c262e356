"""Which of the control processes of one store does the work: one holds the place, the others stand by to take it.

The place is a lease. A store on one machine has one control process: a second one waits a little for one that is
ending, then says who holds the place. Of a store that is a server each machine may have one: those that do not hold the
place answer that another does, and take it once that one has ended, or was silent for a minute.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from homeostat.app.leases import alive, lease_of, reap, same, shared, take_over
from homeostat.domain.errors import Conflict, StoreUnavailable
from homeostat.domain.records import Lease
from homeostat.server.http import HttpError, Receive, Scope, Send, respond

if TYPE_CHECKING:
    from homeostat.app.container import Container

PLACE: Final = "control"
_PATIENCE: Final = 15.0
_BRIEFLY: Final = 2.0

_log = logging.getLogger("homeostat.control")


def holder(container: Container) -> Lease | None:
    """Who holds the place and lives; None: nobody."""
    found = container.store.get(Lease, PLACE)
    return found if found is not None and alive(container, found) else None


def take(container: Container, address: str) -> Lease | None:
    """Take the place unless another holds it: two that try at once do not both get it."""
    mine = msgspec.structs.replace(lease_of(container, "control", "control", address=address), id=PLACE)
    with container.store.begin() as tx:
        found = tx.lock(Lease, PLACE)
        if found is not None and not same(found, mine) and alive(container, found):
            return None
        take_over(tx, container, mine)
    reap(container)
    return mine


def keep(container: Container, mine: Lease) -> bool:
    """Say that the holder still lives; says whether it still is the holder: one that was silent may have lost it."""
    with container.store.begin() as tx:
        found = tx.lock(Lease, PLACE)
        if found is not None and not same(found, mine):
            return False
        tx.put(msgspec.structs.replace(mine, heartbeat=container.clock.wall()))
    return True


def await_place(container: Container, address: str) -> Lease | None:
    """The place, for which one that is ending is waited for; None where this process is to stand by.

    Raises:
        Conflict: another one runs for this store of one machine, and does not end.
    """
    several = shared(container)
    until = container.clock.monotonic() + (_BRIEFLY if several else _PATIENCE)
    while (mine := take(container, address)) is None:
        if container.clock.monotonic() > until:
            if several:
                return None
            other = holder(container)
            whose = f": process {other.pid} on {other.host}" if other else ""
            raise Conflict(
                f"a control process runs for this store already{whose}",
                remedy="Stop it with homeostat down, or give this one another --home or --store",
            )
        container.clock.sleep(0.2)
    return mine


class StandBy:
    """The ASGI application of a control process that stands by: it says who does the work.

    Args:
        container: The ports.
        address: Where this process answers.
    """

    def __init__(self, container: Container, address: str) -> None:
        self._container, self._address = container, address
        self.place: Lease | None = None
        self._other: Lease | None = None

    def look(self) -> bool:
        """Take the place where it is free; says whether it was. What fails is tried again."""
        try:
            self.place = take(self._container, self._address)
            if self.place is None:
                self._other = holder(self._container)
        except StoreUnavailable as error:
            _log.warning("whether the place is free is not known: %s", error)
        return self.place is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer that another process does, from memory: the store may be away, and waiting for it holds up all."""
        other = self._other
        who = f"process {other.pid} on {other.host}, at {other.address}," if other else "another process"
        error = HttpError(
            503,
            "standing_by",
            f"{who} controls this store; this one takes over when that one ends",
            remedy="Ask that one: set HOMEOSTAT_SERVER, or --server, to its URL",
            headers=[(b"retry-after", b"1")],
        )
        await respond(send, error.status, error.body(), error.headers)
