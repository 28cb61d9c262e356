"""What fails is tried again ever more rarely, some ten times within an hour, and then given up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from homeostat.domain.records import Reaction
from homeostat.ports.meta import Reads, Transaction

ATTEMPTS: Final = 10
"""How often something is tried."""

_GROWTH: Final = 3
_LONGEST: Final = timedelta(minutes=20)


def note(tx: Transaction, of: str, number: int, *, at: datetime, error: str) -> Reaction:
    """Keep that an attempt failed, or was begun and may fail; the record says whether it was the last."""
    before = tx.lock(Reaction, of, number)
    attempts = before.attempts + 1 if before else 1
    made = Reaction(
        reactor=of, event=number, attempts=attempts, dead=attempts >= ATTEMPTS, error=error, at=at
    )
    tx.put(made)
    return made


def excuse(tx: Transaction, of: str, number: int) -> None:
    """Keep that an attempt failed by no fault of its own, as where a store does not answer: it was not the last."""
    before = tx.lock(Reaction, of, number)
    if before is not None:
        tx.put(msgspec.structs.replace(before, attempts=min(before.attempts, ATTEMPTS - 2)))


def waits(reads: Reads, of: str, number: int, *, at: datetime) -> bool:
    """Whether it is too early to try again."""
    last = reads.get(Reaction, of, number)
    if last is None or last.dead:
        return False
    # A clock that was set back makes nothing wait for longer.
    return timedelta(0) <= at - last.at < min(timedelta(seconds=_GROWTH ** (last.attempts - 1)), _LONGEST)
