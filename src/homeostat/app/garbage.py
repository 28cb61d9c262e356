"""Freeing bytes that nothing refers to any more: the blobs that no record names.

Whatever looks like a digest in a record keeps the blob of that digest, so a new kind of record needs no mention here.
Blobs do not refer to blobs. Who stores something puts its blobs first and its record then; so a blob that was put of
late is never freed, whether a record names it or not, and a record's blobs are put again by whoever stores it anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final, TypeVar

import msgspec

from homeostat.app.container import Container
from homeostat.app.uploads import forget
from homeostat.domain import records, traces, tracking
from homeostat.domain.events import Event
from homeostat.domain.records import Record
from homeostat.ports.meta import Reads, Where

GRACE: Final = timedelta(days=1)
_PAGE: Final = 1000
_DIGEST: Final = re.compile(rb"sha256:([0-9a-f]{64})")
# Many or large, and without a digest in them.
_WITHOUT: Final[frozenset[type[Record]]] = frozenset(
    {
        records.Batch,
        records.Cursor,
        records.Evaluation,
        records.Lease,
        records.Quarantined,
        records.Token,
        records.Window,
        traces.SpanBlock,
        traces.SpanKind,
        traces.TraceRun,
        tracking.LoggedModelMetric,
        tracking.Metric,
        tracking.MetricBlock,
    }
)

R = TypeVar("R", bound=Record)


class Freed(msgspec.Struct, frozen=True):
    """What became of the blobs, or would. ``young`` were put too lately to be looked at, and count as ``kept``."""

    blobs: int = 0
    bytes: int = 0
    kept: int = 0
    young: int = 0


def free(
    container: Container,
    *,
    delete: bool,
    grace: timedelta = GRACE,
    gone: Callable[[Record], bool] = lambda record: False,
) -> Freed:
    """Remove the blobs that no record names; safe while others store.

    Args:
        container: The ports.
        delete: Whether to remove them, or only to count.
        grace: Blobs that were put within it are kept; longer than anybody takes from there to the record.
        gone: Records that count as if they were not there, to count what their removal would free.
    """
    before = container.clock.wall() - grace
    named = _named(container.store, gone)
    blobs, young, kept = [], 0, 0
    for blob in container.blobs.stored():
        if blob.at >= before:
            young += 1
        elif _number(blob.digest) in named:
            kept += 1
        else:
            blobs.append(blob)
    if not delete:
        return Freed(len(blobs), sum(blob.size for blob in blobs), kept + young, young)
    # Once more: a record may have been written since that names one of them without having put it again.
    named = _named(container.store, gone) if blobs else set()
    freed = [
        blob.size
        for blob in blobs
        if _number(blob.digest) not in named and container.blobs.discard(blob.digest, before)
    ]
    forget(container, before)
    if freed:
        with container.store.begin() as tx:
            tx.append(
                Event(
                    kind="blobs.freed",
                    subject="blob/unreachable",
                    at=container.clock.now(),
                    body={"blobs": len(freed), "bytes": sum(freed)},
                )
            )
    return Freed(len(freed), sum(freed), kept + young + len(blobs) - len(freed), young)


def kinds() -> Iterator[type[Record]]:
    """Every class of record that the store keeps."""
    return (kind for kind in Record.__subclasses__() if kind.__module__.startswith("homeostat.domain."))


def each(reads: Reads, kind: type[R]) -> Iterator[R]:
    """Every record of a class in order of its key, a page at a time; one that comes or goes meanwhile may be missed."""
    reached: list[list[Where]] = [[]]
    while reached:
        rows = reads.find(kind, *reached[-1], limit=_PAGE)
        yield from rows
        if len(rows) < _PAGE:
            reached.pop()
        else:
            reached = _beyond(rows[-1])


def _beyond(last: Record) -> list[list[Where]]:
    """Conditions for what follows a record: equal in fewer and fewer fields of the key, and greater in the next."""
    key = [(name, getattr(last, name)) for name in last.KEY]
    return [
        [*((name, "=", value) for name, value in key[:same]), (key[same][0], ">", key[same][1])]
        for same in range(len(key))
    ]


def _named(reads: Reads, gone: Callable[[Record], bool]) -> set[bytes]:
    """The digests in all records, 32 bytes each."""
    found: set[bytes] = set()
    encode = msgspec.msgpack.Encoder().encode
    for kind in kinds():
        if kind not in _WITHOUT:
            for record in each(reads, kind):
                if not gone(record):
                    found.update(bytes.fromhex(hit.decode()) for hit in _DIGEST.findall(encode(record)))
    return found


def _number(digest: str) -> bytes:
    return bytes.fromhex(digest.removeprefix("sha256:"))
