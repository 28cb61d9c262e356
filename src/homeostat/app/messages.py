"""Messages from elsewhere: CloudEvents that rules wait for. Each is kept once, by its source and id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.domain.digests import digest_bytes, digest_of
from homeostat.domain.events import Event
from homeostat.domain.records import Message

RECEIVED: Final = "message.received"


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent as it came.

    Args:
        id: What its source calls it.
        source: Where it comes from.
        type: What kind of event it is.
        subject: What it is about, where it says so.
        data: What it carries; only the digest is kept.
    """

    id: str
    source: str
    type: str
    subject: str = ""
    data: bytes = b""


class Received(msgspec.Struct, frozen=True):
    """How many messages were new, and how many had come before."""

    taken: int
    repeated: int


def receive(container: Container, messages: Sequence[Incoming]) -> Received:
    """Keep messages, all or none; one that came before is passed over."""
    taken = 0
    now = container.clock.now()
    with container.store.begin() as tx:
        for one in messages:
            if tx.lock(Message, one.source, one.id) is not None:
                continue
            digest = digest_bytes(one.data)
            tx.insert(
                Message(
                    source=one.source,
                    id=one.id,
                    type=one.type,
                    subject=one.subject,
                    digest=digest,
                    at=now,
                )
            )
            tx.append(
                Event(
                    kind=RECEIVED,
                    subject=f"message/{digest_of([one.source, one.id])[7:23]}",
                    at=now,
                    body={
                        "source": one.source,
                        "id": one.id,
                        "type": one.type,
                        "subject": one.subject,
                        "digest": digest,
                    },
                )
            )
            taken += 1
    return Received(taken, len(messages) - taken)
