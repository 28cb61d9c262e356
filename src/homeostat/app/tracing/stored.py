"""Traces and spans as they are stored, for who takes them in and who reads them."""

from __future__ import annotations

from collections.abc import Iterable

from homeostat.domain.errors import NotFound
from homeostat.domain.traces import SpanBlock, Trace
from homeostat.engine.tracking.packing import unpack
from homeostat.engine.tracking.spans import Span
from homeostat.ports.meta import Reads, Transaction


def spans_in(reads: Reads, ids: Iterable[str]) -> dict[str, list[Span]]:
    """The spans of traces, by id, each once, in order of when they began."""
    found: dict[str, dict[str, Span]] = {id: {} for id in ids}
    for block in reads.find(SpanBlock, ("trace", "in", list(found)), order=["seq"]):
        for span in unpack(block.spans):
            found[block.trace][span["span_id"]] = span
    return {
        id: sorted(some.values(), key=lambda span: span.get("start_time_unix_nano", 0))
        for id, some in found.items()
    }


def locked_trace(tx: Transaction, id: str) -> Trace:
    """A trace that nobody else changes until the transaction ends.

    Raises:
        NotFound: there is none of this id.
    """
    found = tx.lock(Trace, id)
    if found is None:
        raise no_trace(id)
    return found


def no_trace(id: str) -> NotFound:
    """The error for a trace that is not there."""
    return NotFound(f"Trace with ID '{id}' not found.")
