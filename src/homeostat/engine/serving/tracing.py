"""Traces of predictions: whole ones, of few requests, and for all others a comparison.

A request whose ``traceparent`` says that it is sampled is traced, and one that says it is not is none; of those that
say nothing, a share (https://www.w3.org/TR/trace-context). A limit holds for all of them. A trace is one span of the
request with spans of its parts below: ``wait`` for the batch before, ``features``, ``predict``, and ``log`` until a
segment holds the row. Names and attributes are those of OpenTelemetry's conventions for HTTP servers and gRPC where
they have one (https://opentelemetry.io/docs/specs/semconv/http/http-spans), and Homeostat's own below ``homeostat.``.

The event loop makes notes, a thread makes spans of them (``flush``).
"""

from __future__ import annotations

import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.domain.release import VERSION
from homeostat.domain.traces import span_of, trace_of
from homeostat.ports.clock import Clock

if TYPE_CHECKING:
    from homeostat.engine.serving.predictions import Prediction

Keep = Callable[[str, bytes], object]
"""Keeps the traces of a deployment, a request of OTLP in JSON; may block and raise."""

PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"
_PARENT: Final = re.compile(
    rb"(?!ff)(?P<version>[0-9a-f]{2})-(?P<id>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    rb"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_INTERNAL, _SERVER = 1, 2
_ERROR: Final = 2
_SCOPE: Final = "homeostat.serving"
_MINUTE: Final = 60.0


class TraceCounts(msgspec.Struct):
    """Traces since the process began."""

    kept: int = 0
    dropped: int = 0


class Trace:
    """One request that is traced.

    Args:
        tracer: Who takes it once it is whole.
        id: Of the trace, 32 hexadecimal digits.
        parent: The caller's span, 16 of them; empty where there is none.
        state: What other tracers passed on.
    """

    def __init__(self, tracer: Tracer, id: str, parent: str, state: str) -> None:
        self.id, self.parent, self.state = id, parent, state
        self.span = _digits(8)
        self.deployment = ""
        self.attributes: dict[str, Any] = {}
        self.name = self.error = ""
        self._tracer = tracer
        self._clock = tracer.clock
        self._wall = round(tracer.clock.wall().timestamp() * 1e9)
        self._began = self._ended = tracer.clock.monotonic()
        self._parts: list[tuple[str, float, float]] = []
        self._open = 1
        self._closing = Lock()

    @property
    def header(self) -> tuple[bytes, bytes]:
        """What an answer says of it."""
        return PARENT, f"00-{self.id}-{self.span}-01".encode()

    def took(self, items: Sequence[Prediction]) -> None:
        """Note what became of the rows, before they are given to the log: then it is whole once the log has them."""
        first = items[0]
        spent = first.scored.spent if first.scored is not None else None
        if spent is not None:
            self._parts += [
                ("wait", self._began, spent.began),
                ("features", spent.began, spent.computed),
                ("predict", spent.computed, spent.ended),
            ]
        self.attributes |= {
            "homeostat.prediction.id": first.id,
            "homeostat.model.version": first.answered.version,
            "homeostat.arm": first.role,
            "homeostat.rows": len(items),
        }
        if self._tracer.logged:
            self._open += 1
            first.trace = self

    def answered(
        self, deployment: str, name: str, attributes: Mapping[str, str | int], error: str = ""
    ) -> None:
        """Note that the answer is made.

        Args:
            deployment: Who was asked; empty where there is none of that name.
            name: What the request was, as one of many alike.
            attributes: The same by the conventions of its protocol.
            error: What went wrong here, if the fault is not the caller's.
        """
        self._ended = self._clock.monotonic()
        self.deployment, self.name, self.error = deployment, name, error
        self.attributes |= attributes
        self.attributes |= {"homeostat.deployment": deployment} if deployment else {}
        self.attributes |= {"error.type": error} if error else {}
        self._close()

    def logged(self, kept: bool = True) -> None:
        """Note that a segment of the log holds the row, or that none will."""
        if kept:
            self._parts.append(("log", self._ended, self._clock.monotonic()))
        self._close()

    def spans(self) -> Iterator[dict[str, Any]]:
        """The spans as OTLP writes them in JSON."""
        span = self._span(self.span, self.parent, self.name, _SERVER, self._began, self._ended)
        span["attributes"] = described(self.attributes)
        version = self.attributes.get("homeostat.model.version")
        if self._tracer.linked and version:
            made = {
                "traceId": trace_of(self.deployment, version),
                "spanId": span_of(self.deployment, version),
            }
            span["links"] = [made]
        if self.state:
            span["traceState"] = self.state
        if self.error:
            span["status"] = {"code": _ERROR}
        yield span
        for part, began, ended in self._parts:
            yield self._span(_digits(8), self.span, part, _INTERNAL, began, max(began, ended))

    def _span(self, id: str, parent: str, name: str, kind: int, began: float, ended: float) -> dict[str, Any]:
        return {
            "traceId": self.id,
            "spanId": id,
            "parentSpanId": parent,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(self._at(began)),
            "endTimeUnixNano": str(self._at(ended)),
        }

    def _at(self, moment: float) -> int:
        return self._wall + round((moment - self._began) * 1e9)

    def _close(self) -> None:
        with self._closing:  # the answer and the log come from two threads
            self._open -= 1
            whole = not self._open
        if whole:
            self._tracer.take(self)


class Tracer:
    """Says which requests are traced, and gives their traces on.

    Args:
        clock: World and monotonic time.
        share: Of the requests that do not say, how many are traced.
        keep: Keeps traces; None: nothing is traced.
        pause: Seconds between two that nobody asked for.
        limit: The most in a minute, those that callers ask for among them; None: as many as they ask for.
        capacity: The most traces that wait for ``flush``.
        linked: Whether a trace links to that of the version that answered, where the loop is traced too.
    """

    logged = True
    """Whether predictions go to a log."""

    def __init__(
        self,
        clock: Clock,
        share: float = 0.0,
        keep: Keep | None = None,
        *,
        pause: float = 0.0,
        limit: float | None = None,
        capacity: int = 200,
        linked: bool = False,
    ) -> None:
        self.clock = clock
        self.linked = linked
        self.counts = TraceCounts()
        self.error = ""
        self._share, self._pause, self._capacity = share, pause, capacity
        self._keep = keep
        self._due = 1.0 - share  # the first that may be is
        self._limit, self._left = limit, limit or 0.0
        self._next = self._seen = clock.monotonic()
        self._whole: deque[Trace] = deque()

    def begin(self, parent: bytes = b"", state: bytes = b"") -> Trace | None:
        """The trace of a request that came with these headers; None where it has none."""
        if self._keep is None:
            return None
        found = _PARENT.fullmatch(parent) if parent else None
        if found is None or (found["version"] == b"00" and found["more"]):
            return self._chosen()
        if not int(found["flags"], 16) & 1 or not self._allowed():
            return None
        return Trace(self, found["id"].decode(), found["span"].decode(), state.decode("latin-1"))

    def take(self, trace: Trace) -> None:
        """Take a trace that is whole."""
        if len(self._whole) < self._capacity:
            self._whole.append(trace)
        else:
            self.counts.dropped += 1

    @property
    def waiting(self) -> int:
        """Traces that are whole and not given on."""
        return len(self._whole)

    def flush(self) -> None:
        """Give on what is whole. Blocks; raises nothing: what cannot be kept is counted, and ``error`` says why."""
        if self._keep is None:
            return
        groups: dict[str, list[Trace]] = {}
        while True:
            try:
                trace = self._whole.popleft()
            except IndexError:  # also where another thread took the last
                break
            groups.setdefault(trace.deployment, []).append(trace)
        for deployment, traces in groups.items():
            try:
                self._keep(deployment, request(traces))
                self.counts.kept += len(traces)
                self.error = ""
            except Exception as error:  # noqa: BLE001 - answers do not depend on it
                self.counts.dropped += len(traces)
                self.error = f"{type(error).__name__}: {error}"[:500]

    def _chosen(self) -> Trace | None:
        self._due += self._share
        if self._due < 1 or not self._share:
            return None
        now = self.clock.monotonic()
        if now < self._next or not self._allowed():
            return None
        self._due, self._next = 0.0, now + self._pause
        return Trace(self, _digits(16), "", "")

    def _allowed(self) -> bool:
        """Whether one more keeps within the limit: what is left grows again as time goes by."""
        if self._limit is None:
            return True
        now = self.clock.monotonic()
        self._left = min(self._limit, self._left + (now - self._seen) * self._limit / _MINUTE)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def request(traces: Sequence[Trace]) -> bytes:
    """Traces of requests as ``written``."""
    return written([span for trace in traces for span in trace.spans()], _SCOPE)


def described(attributes: Mapping[str, str | int]) -> list[dict[str, Any]]:
    """Attributes as OTLP writes them in JSON."""
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def written(spans: Sequence[dict[str, Any]], scope: str) -> bytes:
    """Spans as one request of OTLP in JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding)."""
    told = {"scope": {"name": scope, "version": VERSION}, "spans": spans}
    return msgspec.json.encode({"resourceSpans": [{"resource": origin(), "scopeSpans": [told]}]})


def origin() -> dict[str, Any]:
    """This process, as OTLP names where something comes from."""
    about: dict[str, str | int] = {
        "service.name": "homeostat",
        "service.version": VERSION,
        "service.instance.id": _instance(os.getpid()),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    return {"attributes": described(about)}


@cache
def _instance(pid: int) -> str:
    """What tells a process from any other, of this machine or another: containers have the same names and numbers."""
    return _digits(16)


def _value(value: str | int) -> dict[str, Any]:
    return {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}


def _digits(size: int) -> str:
    return os.urandom(size).hex()
