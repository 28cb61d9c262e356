"""Events and lineage edges: what the ledger holds.

An event is chained to the one before it: its hash covers its own content, its edges and the previous hash
(a hash chain in the manner of Haber and Stornetta, 1991). The first event follows ``GENESIS``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from homeostat.domain.digests import digest_of

GENESIS: Final = "sha256:" + "0" * 64


class Edge(msgspec.Struct, frozen=True, order=True):
    """``source`` went into ``target``, in a role such as ``input``, ``code``, ``produced``, ``deployed``."""

    source: str
    target: str
    role: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state. ``seq``, ``previous`` and ``hash`` are given by the ledger on append."""

    kind: str
    subject: str
    at: datetime
    actor: str = "system"
    body: dict[str, Any] = {}
    edges: tuple[Edge, ...] = ()
    seq: int = 0
    previous: str = ""
    hash: str = ""


class Head(msgspec.Struct, frozen=True):
    """The end of the committed chain; ``seq`` 0 and ``GENESIS`` when it is empty."""

    seq: int
    hash: str


class Verdict(msgspec.Struct, frozen=True):
    """What a walk along the chain found; ``broken_at`` is the seq of the first event that does not hold."""

    ok: bool
    checked: int
    broken_at: int | None = None
    reason: str = ""


def chain(event: Event, previous: Head) -> Event:
    """``event`` as the next one after ``previous``."""
    linked = msgspec.structs.replace(event, seq=previous.seq + 1, previous=previous.hash, hash="")
    return msgspec.structs.replace(linked, hash=digest_of(linked))


def short(text: str) -> str:
    """A text as events hold it, which are kept for ever: its beginning."""
    return text if len(text) <= 500 else f"{text[:499]}…"
