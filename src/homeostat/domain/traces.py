"""What tracing remembers: traces, each a tree of spans, with marks, metadata and what was judged of them."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Any

from homeostat.domain.records import Record


def trace_of(model: str, version: int | str) -> str:
    """The id of the trace that tells what became of a version: whoever knows its name can link to it."""
    return blake2b(f"{model}@{version}".encode(), digest_size=16).hexdigest()


def span_of(model: str, version: int | str, part: str = "") -> str:
    """The id of the first span of that trace, or of a part of it."""
    return blake2b(f"{model}@{version} {part}".encode(), digest_size=8).hexdigest()


class Trace(Record, frozen=True, kw_only=True):
    """One request to an application, from when it came in until it was answered.

    What its sender said of it is ``settled``; until then it is what its spans tell.
    """

    KEY = ("id",)
    id: str
    experiment: int
    name: str = ""
    client: str = ""  # what the application calls the request
    state: str  # IN_PROGRESS, OK, ERROR or STATE_UNSPECIFIED
    began_at: datetime
    ended_at: datetime | None = None
    took: int | None = None  # milliseconds
    request: str | None = None  # the beginning of what came in, and of the answer
    response: str | None = None
    settled: bool = False


class TraceTag(Record, frozen=True, kw_only=True):
    """A mark on a trace."""

    KEY = ("trace", "key")
    trace: str
    key: str
    value: str


class TraceMetadata(Record, frozen=True, kw_only=True):
    """Something that was known of a trace as it ran; it does not change afterwards."""

    KEY = ("trace", "key")
    trace: str
    key: str
    value: str


class TraceRun(Record, frozen=True, kw_only=True):
    """A trace that belongs to a run."""

    KEY = ("run", "trace")
    run: str
    trace: str


class SpanBlock(Record, frozen=True, kw_only=True):
    """Spans of a trace as they came together, in the form of ``homeostat.engine.tracking.packing``.

    One that was sent twice is in two blocks; the later one counts. A search finds words in them.
    """

    KEY = ("trace", "seq")
    trace: str
    seq: int
    count: int
    spans: str


class SpanKind(Record, frozen=True, kw_only=True):
    """That a trace has a span of this name, type and state: what traces are searched by."""

    KEY = ("trace", "name", "type", "status")
    trace: str
    name: str
    type: str
    status: str  # UNSET, OK or ERROR


class Assessment(Record, frozen=True, kw_only=True):
    """Feedback on a trace or what was expected of it, by a person or a program, as its sender wrote it."""

    KEY = ("trace", "id")
    trace: str
    id: str
    name: str
    body: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    valid: bool = True  # False: another one took its place
