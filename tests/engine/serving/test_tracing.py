"""Which requests are traced follows from their callers, else from the share; a trace is given on once, and whole."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from homeostat.adapters.clock import ManualClock
from homeostat.engine.serving.predictions import decide
from homeostat.engine.serving.tracing import Trace, Tracer
from tests.engine.serving.fakes import NOON, FakeScorer, routes
from tests.engine.serving.test_predictions import items

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Kept:
    """Takes traces, or raises."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.broken = False

    def __call__(self, deployment: str, request: bytes) -> None:
        if self.broken:
            raise OSError("no route")
        self.requests.append((deployment, json.loads(request)))

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [s for _, one in self.requests for s in one["resourceSpans"][0]["scopeSpans"][0]["spans"]]


@pytest.mark.parametrize(
    ("parent", "traced", "taken_over"),
    [
        (f"00-{ID}-{SPAN}-01", True, True),
        (f"00-{ID}-{SPAN}-00", False, False),
        (f"cc-{ID}-{SPAN}-03-what-comes", True, True),  # a later version holds what this one does
        (f"00-{ID}-{SPAN}-01-more", True, False),
        (f"ff-{ID}-{SPAN}-01", True, False),
        (f"00-{'0' * 32}-{SPAN}-01", True, False),
        (f"00-{ID.upper()}-{SPAN}-01", True, False),
        ("", True, False),
    ],
)
def test_callers_decide_where_they_say_it_in_the_form_there_is(
    parent: str, traced: bool, taken_over: bool
) -> None:
    begun = Tracer(ManualClock(NOON), 1.0, Kept()).begin(parent.encode(), b"vendor=1")
    assert (begun is not None) is traced
    if begun is not None:
        assert (begun.id == ID, begun.parent, begun.state) == (
            (True, SPAN, "vendor=1") if taken_over else (False, "", "")
        )
        assert begun.header[1].decode().split("-")[1] == begun.id


def test_a_share_of_the_others_and_not_too_often() -> None:
    clock = ManualClock(NOON)
    tracer = Tracer(clock, 0.01, Kept())
    assert sum(tracer.begin() is not None for _ in range(1_000)) == 10
    seldom = Tracer(clock, 0.5, Kept(), pause=10)
    found = 0
    for _ in range(100):
        found += seldom.begin() is not None
        clock.advance(timedelta(seconds=1))
    assert found == 10
    assert Tracer(clock, 0.0, Kept()).begin() is None
    assert Tracer(clock, 1.0).begin(f"00-{ID}-{SPAN}-01".encode()) is None


def test_a_limit_holds_for_callers_too() -> None:
    clock, asked = ManualClock(NOON), f"00-{ID}-{SPAN}-01".encode()
    tracer = Tracer(clock, 1.0, Kept(), limit=6)
    assert sum(tracer.begin(asked) is not None for _ in range(20)) == 6
    assert tracer.begin() is None
    clock.advance(timedelta(seconds=20))
    assert sum(tracer.begin(asked) is not None for _ in range(20)) == 2
    clock.advance(timedelta(hours=1))
    assert sum(tracer.begin() is not None for _ in range(20)) == 6
    assert Tracer(clock, 1.0, Kept(), limit=0).begin(asked) is None


def decided(tracer: Tracer) -> tuple[Trace, Any]:
    batch = items(routes(FakeScorer()), "a")
    decide(batch)
    trace = tracer.begin()
    assert trace is not None
    trace.took(batch)
    return trace, batch[0]


def test_a_trace_is_whole_once_the_answer_is_made_and_the_log_has_it() -> None:
    clock, kept = ManualClock(NOON), Kept()
    tracer = Tracer(clock, 1.0, kept)
    trace, item = decided(tracer)
    clock.advance(timedelta(milliseconds=3))
    trace.answered("flights", "POST /predict/{deployment}", {"http.response.status_code": 200})
    assert tracer.waiting == 0
    clock.advance(timedelta(milliseconds=400))
    item.trace.logged()
    tracer.flush()
    root, log = kept.spans
    assert (root["name"], root["kind"], log["name"]) == ("POST /predict/{deployment}", 2, "log")
    assert (root["traceId"], log["parentSpanId"]) == (log["traceId"], root["spanId"])
    start, end = int(root["startTimeUnixNano"]), int(root["endTimeUnixNano"])
    assert start == int(NOON.timestamp() * 1e9)
    assert (end - start, int(log["endTimeUnixNano"]) - end) == (3_000_000, 400_000_000)
    told = {one["key"]: next(iter(one["value"].values())) for one in root["attributes"]}
    assert (told["homeostat.prediction.id"], told["http.response.status_code"]) == (item.id, "200")
    assert tracer.counts.kept == 1


def test_what_is_in_no_log_is_whole_with_the_answer_and_a_failure_is_told() -> None:
    clock, kept = ManualClock(NOON), Kept()
    tracer = Tracer(clock, 1.0, kept, capacity=3)
    tracer.logged = False
    trace, item = decided(tracer)
    assert item.trace is None
    trace.answered("flights", "POST /invocations", {"http.response.status_code": 503}, "503")
    tracer.flush()
    (root,) = kept.spans
    assert root["status"] == {"code": 2}
    kept.broken = True
    for _ in range(5):
        decided(tracer)[0].answered("flights", "POST /invocations", {})
    tracer.flush()
    assert (tracer.counts.kept, tracer.counts.dropped, tracer.waiting) == (1, 5, 0)
    assert tracer.error == "OSError: no route"
