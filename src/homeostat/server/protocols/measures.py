"""What a worker has done, in Prometheus' exposition format: requests, their seconds, rows, and the prediction log.

Counting costs a comparison and two additions a request: a histogram's buckets are summed when somebody asks.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from homeostat.engine.serving.plane import Plane

_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS: Final = {
    "rows": "Rows decided.",
    "batches": "Calls of models.",
    "errors": "Rows that no version could score.",
    "fallbacks": "Rows that the champion answered in a canary's place.",
    "shadows": "Rows that were scored for comparison too.",
    "shadows_dropped": "Rows that a shadow was too slow for.",
}
_TRACES: Final = {
    "kept": "Traces of predictions that were given on.",
    "dropped": "Traces of predictions that could not be given on, or did not fit.",
}
_LOG: Final = {
    "flushed": "Predictions that the log's store took.",
    "dropped": "Predictions that did not fit into the log's buffer.",
    "failures": "Times that the log's store refused.",
}


class Seconds:
    """How long requests of one kind took."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0


class Measures:
    """Counts requests and reads what the plane counts.

    Args:
        plane: What answers.

    Attributes:
        clock: World and real time.
        began: Since when it counts, in real time.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.clock = plane.clock
        self.began = plane.clock.wall()
        self._seconds: dict[tuple[str, int], Seconds] = {}

    def count(self, protocol: str, status: int, seconds: float) -> None:
        """One more request."""
        found = self._seconds.get((protocol, status))
        if found is None:
            found = self._seconds[protocol, status] = Seconds()
        found.buckets[bisect_left(_BOUNDS, seconds)] += 1
        found.total += seconds

    def by_status(self) -> dict[int, int]:
        """Requests by their status."""
        found: dict[int, int] = {}
        for (_, status), seconds in sorted(self._seconds.items(), key=lambda one: one[0][1]):
            found[status] = found.get(status, 0) + sum(seconds.buckets)
        return found

    def exposition(self) -> bytes:
        """Everything as text."""
        return ("\n".join(self._lines()) + "\n").encode()

    def _lines(self) -> Iterator[str]:
        plane = self._plane
        yield from _head("request_seconds", "histogram", "Requests by protocol and status.")
        for (protocol, status), seconds in sorted(self._seconds.items()):
            labels = {"protocol": protocol, "status": status}
            sum_so_far = 0
            for bound, count in zip([*_BOUNDS, "+Inf"], seconds.buckets, strict=True):
                sum_so_far += count
                yield _line("request_seconds_bucket", labels | {"le": bound}, sum_so_far)
            yield _line("request_seconds_sum", labels, seconds.total)
            yield _line("request_seconds_count", labels, sum_so_far)
        endpoints = sorted(plane.endpoints.items())
        for name, text in _ROWS.items():
            yield from _head(f"{name}_total", "counter", text)
            for deployment, endpoint in endpoints:
                labels = {"deployment": deployment}
                yield _line(f"{name}_total", labels, msgspec.structs.asdict(endpoint.counts)[name])
        yield from _head("degraded_total", "counter", "Rows that a declared fallback answered.")
        for deployment, endpoint in endpoints:
            for kind, count in sorted(endpoint.counts.degraded.items()):
                yield _line("degraded_total", {"deployment": deployment, "fallback": kind}, count)
        yield from _head("waiting_rows", "gauge", "Rows in the queue.")
        for deployment, endpoint in endpoints:
            yield _line("waiting_rows", {"deployment": deployment}, endpoint.waiting)
        yield from _head("arm_weight", "gauge", "The share of the traffic that a version has.")
        for deployment, endpoint in endpoints:
            for arm in endpoint.live.routes.arms:
                labels = {"deployment": deployment, "version": arm.version, "role": arm.role}
                yield _line("arm_weight", labels, arm.weight)
        traces = msgspec.structs.asdict(plane.tracer.counts)
        for name, text in _TRACES.items():
            yield from _head(f"traces_{name}_total", "counter", text)
            yield _line(f"traces_{name}_total", {}, traces[name])
        counts = msgspec.structs.asdict(plane.log.counts)
        for name, text in _LOG.items():
            yield from _head(f"log_{name}_total", "counter", text)
            yield _line(f"log_{name}_total", {}, counts[name])
        yield from _head("log_buffered", "gauge", "Predictions that wait for the log's store.")
        yield _line("log_buffered", {}, counts["buffered"])


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return f"# HELP homeostat_{name} {text}", f"# TYPE homeostat_{name} {kind}"


def _line(name: str, labels: dict[str, Any], value: float) -> str:
    """A sample; the process tells workers on one port from each other."""
    told = ",".join(f'{key}="{one}"' for key, one in ({"pid": os.getpid()} | labels).items())
    return f"homeostat_{name}{{{told}}} {value!r}"
