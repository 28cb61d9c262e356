"""Traces: told of by their sender and by their spans in any order, searched, judged and removed, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homeostat.app import tracking
from homeostat.app.artifacts import listing, write
from homeostat.app.container import Container
from homeostat.app.purging import collect
from homeostat.app.settings import Settings
from homeostat.app.tracing.assessments import assess, assessment, change_assessment, delete_assessment
from homeostat.app.tracing.ingest import link_traces, start_trace, tag_trace, take_spans, untag_trace
from homeostat.app.tracing.reading import delete_traces, search_traces, trace, trace_data, whole_trace
from homeostat.app.tracing.stored import spans_in
from homeostat.domain import traces
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.traces import Trace

BEGAN = datetime(2026, 5, 1, 12, tzinfo=UTC)
NANOS = int(BEGAN.timestamp()) * 10**9
OTEL = "0af7651916cd43dd8448eb211c80319c"
ID = f"tr-{OTEL}"


@pytest.fixture
def container(tmp_path: Path, store_url: str) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


def span(
    number: int, *, parent: int = 0, trace: str = OTEL, **more: Any
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    made = {
        "trace_id": trace,
        "span_id": f"{number:016x}",
        "name": f"s{number}",
        "start_time_unix_nano": NANOS + number * 10**6,
        "end_time_unix_nano": NANOS + (100 - number) * 10**6,
        **more,
    }
    return (made | {"parent_span_id": f"{parent:016x}"} if parent else made), {"service.name": "svc"}


def told(id: str, experiment: int = 0, **changes: Any) -> Trace:
    base: dict[str, Any] = {"state": "OK", "began_at": BEGAN, "took": 1500}
    return Trace(id=id, experiment=experiment, **base | changes)


def start(container: Container, id: str, **changes: Any) -> Trace:
    tags, metadata = changes.pop("tags", {}), changes.pop("metadata", {})
    return start_trace(container, told(id, **changes), tags=tags, metadata=metadata)


def test_told_of_by_spans_alone(container: Container) -> None:
    assert take_spans(container, 0, [span(2, parent=1)]) == [ID]
    first = trace(container, ID)
    assert (first.state, first.name, first.began_at) == ("IN_PROGRESS", "", BEGAN + timedelta(milliseconds=2))
    take_spans(container, 0, [span(1, status={"code": "ERROR"}), span(3, parent=1)])
    take_spans(container, 0, [span(3, parent=1, name="again")])  # a retry
    found = trace(container, ID)
    assert (found.state, found.name, found.took) == ("ERROR", "s1", 98)
    assert found.began_at == BEGAN + timedelta(milliseconds=1)
    assert [one["name"] for one in spans_in(container.store, [ID])[ID]] == ["s1", "s2", "again"]
    assert trace_data(container, [ID])[ID].tags == {
        "service.name": "svc",
        "mlflow.traceName": "s1",
        "mlflow.trace.spansLocation": "TRACKING_STORE",
        "mlflow.artifactLocation": f"mlflow-artifacts:/0/traces/{ID}/artifacts",
    }


@pytest.mark.parametrize("spans_first", [True, False])
def test_what_the_sender_says_counts_whatever_comes_first(container: Container, spans_first: bool) -> None:
    def spans() -> None:
        take_spans(container, 0, [span(1, status={"code": "ERROR"})])

    if spans_first:
        spans()
    start(container, ID, request="in", tags={"mlflow.traceName": "mine", "t": "v"}, metadata={"m": "1"})
    if not spans_first:
        spans()
    found = trace(container, ID)
    assert (found.state, found.name, found.took, found.request) == ("OK", "mine", 1500, "in")
    assert found.ended_at == BEGAN + timedelta(milliseconds=1500)
    data = trace_data(container, [ID])[ID]
    assert data.tags["mlflow.traceName"] == "mine"
    assert data.tags["t"] == "v"
    assert data.metadata == {"m": "1", "mlflow.trace.infoFinalized": "true"}


def test_all_spans_or_none(container: Container) -> None:
    beyond = span(2, trace="f" * 32, start_time_unix_nano=2**63 * 1000)
    with pytest.raises(BadRequest, match="no time"):
        take_spans(container, 0, [span(1), beyond])
    for experiment, run in ((99, ""), (0, "none")):
        with pytest.raises(NotFound):
            take_spans(container, experiment, [span(1)], run_id=run)
    assert container.store.find(Trace) == []


def test_a_trace_does_not_last_beyond_the_calendar(container: Container) -> None:
    for began, took in ((datetime.max.replace(tzinfo=UTC), 1500), (BEGAN, 10**18)):
        with pytest.raises(BadRequest, match="cannot have taken"):
            start(container, ID, began_at=began, took=took)


def spending(number: int, total: int, **more: Any) -> tuple[dict[str, Any], Mapping[str, Any]]:
    usage = {"string_value": f'{{"total_tokens": {total}}}'}
    return span(number, attributes=[{"key": "mlflow.chat.tokenUsage", "value": usage}], **more)


def used(container: Container) -> str | None:
    return trace_data(container, [ID])[ID].metadata.get("mlflow.trace.tokenUsage")


def test_tokens_of_spans_that_come_in_many_parts(container: Container) -> None:
    take_spans(container, 0, [span(3, parent=2)])
    assert used(container) is None
    take_spans(container, 0, [spending(4, 5, parent=3)])
    take_spans(container, 0, [spending(1, 7)])
    assert used(container) == '{"total_tokens":12}'
    take_spans(container, 0, [span(2, parent=1)])  # by which the fourth is below the first
    assert used(container) == '{"total_tokens":7}'


def test_spans_from_before_are_not_read_again_where_none_told_of_tokens(container: Container) -> None:
    take_spans(container, 0, [span(1)])
    with container.store.begin() as tx:
        tx.update(traces.SpanBlock, {"spans": "no spans"}, ("trace", "=", ID))
    assert take_spans(container, 0, [span(2, parent=1)]) == [ID]


@pytest.mark.parametrize("id", ["", "a/b", "..", "a" * 51, "a b"])
def test_ids_that_cannot_be(container: Container, id: str) -> None:
    with pytest.raises(BadRequest, match="Invalid trace id"):
        start(container, id)


def test_a_trace_is_whole_once_its_spans_are_there(container: Container) -> None:
    start(container, ID, metadata={"mlflow.trace.sizeStats": '{"num_spans": 2}'})
    take_spans(container, 0, [span(1)])
    with pytest.raises(NotFound, match="not fully exported"):
        whole_trace(container, ID, partial=False)
    assert len(whole_trace(container, ID, partial=True)[1]) == 1
    take_spans(container, 0, [span(2, parent=1)])
    assert len(whole_trace(container, ID, partial=False)[1]) == 2


def test_search(container: Container) -> None:
    run = tracking.create_run(container, 0).id
    start(
        container, "a", tags={"mlflow.traceName": "f", "t": "v"}, metadata={"mlflow.sourceRun": run, "m": "1"}
    )
    start(container, "b", state="ERROR", began_at=BEGAN + timedelta(seconds=1), took=10, client="cr")
    start(container, "c", began_at=BEGAN + timedelta(seconds=2), took=None, tags={"mlflow.traceName": "g"})
    take_spans(container, 0, [span(1, name="root"), span(2, parent=1, name="inner")])

    def ids(filter: str = "", *order_by: str) -> list[str]:
        page = search_traces(container, [0], filter=filter, order_by=order_by)
        return [one.id for one in page.items if one.id != ID or "span" in filter]

    assert ids() == ["c", "b", "a"]
    assert ids("trace.status = 'ERROR'") == ["b"]
    assert ids("name = 'f' AND tags.t = 'v'") == ["a"]
    assert ids("metadata.m = '1'") == ["a"]
    assert ids("request_metadata.m IS NULL") == ["c", "b"]
    assert ids("tags.t IS NOT NULL") == ["a"]
    assert ids(f"run_id = '{run}'") == ["a"]
    assert ids("client_request_id = 'cr'") == ["b"]
    assert ids("execution_time_ms < 100") == ["b"]
    assert ids(f"timestamp_ms > {int(BEGAN.timestamp()) * 1000}") == ["c", "b"]
    assert ids("span.name = 'inner'") == [ID]
    assert ids("", "timestamp_ms ASC") == ["a", "b", "c"]
    assert ids("", "execution_time DESC") == ["a", "b", "c"]
    link_traces(container, run, ["b", "b"])
    assert ids(f"run_id = '{run}'") == ["b", "a"]
    assert search_traces(container, []).items == []
    first = search_traces(container, [0], limit=2)
    second = search_traces(container, [0], limit=2, token=first.token)
    assert len({one.id for one in [*first.items, *second.items]}) == 4
    for filter in ("nope = 'a'", "metrics.a > 1", "span.color = 'red'"):
        with pytest.raises(BadRequest):
            ids(filter)
    with pytest.raises(BadRequest):
        ids("", "nope")


def test_marks(container: Container) -> None:
    start(container, "a", tags={"t": "v"})
    tag_trace(container, "a", "t", "w")
    tag_trace(container, "a", "mlflow.traceName", "named")
    assert trace(container, "a").name == "named"
    untag_trace(container, "a", "t")
    with pytest.raises(NotFound, match="No trace tag with key 't'"):
        untag_trace(container, "a", "t")
    for call in (lambda: tag_trace(container, "none", "a", "b"), lambda: untag_trace(container, "none", "a")):
        with pytest.raises(NotFound, match="'none' not found"):
            call()


def test_removed_with_all_that_belongs_to_them(container: Container) -> None:
    experiment = tracking.create_experiment(container, "tides").id
    for number in range(4):
        start(container, f"t{number}", experiment=experiment, began_at=BEGAN + timedelta(seconds=number))
        write(container, f"{experiment}/traces/t{number}/artifacts/x", b"x")
    start(container, "far", tags={"mlflow.artifactLocation": f"mlflow-artifacts:/{experiment}"})
    take_spans(container, experiment, [span(1)])
    assert delete_traces(container, experiment, ids=["t3", "far", "none"]) == 1
    assert delete_traces(container, experiment, until=BEGAN + timedelta(seconds=9), most=2) == 2
    left = [one.id for one in container.store.find(Trace, ("experiment", "=", experiment))]
    assert left == ["t1", "t2"]  # the spans' trace began a millisecond after the first
    assert [entry.name for entry in listing(container, f"{experiment}/traces")] == ["t1", "t2"]
    for wrong in ({}, {"ids": ["a"], "until": BEGAN}, {"until": BEGAN, "most": 0}, {"ids": ["a"], "most": 1}):
        with pytest.raises(BadRequest):
            delete_traces(container, experiment, **wrong)  # type: ignore[arg-type]
    # Who writes where the files of a trace are, cannot have those of others removed.
    assert delete_traces(container, 0, ids=["far"]) == 1
    assert [entry.name for entry in listing(container, f"{experiment}/traces")] == ["t1", "t2"]
    tracking.delete_experiment(container, experiment)
    collect(container, timedelta(), delete=True)
    for kind in (Trace, traces.TraceTag, traces.TraceMetadata, traces.SpanBlock, traces.SpanKind):
        assert container.store.find(kind) == []


def test_assessments(container: Container) -> None:
    start(container, "a")
    good = assess(container, "a", {"assessment_name": "good", "feedback": {"value": True}})
    changed = change_assessment(container, "a", good.id, {"feedback": {"value": False}, "rationale": "r"})
    assert assessment(container, "a", good.id) == changed
    assert (changed.body["feedback"], changed.body["rationale"]) == ({"value": False}, "r")
    body = {"assessment_name": "good", "feedback": {"value": 3}, "overrides": good.id}
    second = assess(container, "a", body)
    assert not assessment(container, "a", good.id).valid
    delete_assessment(container, "a", second.id)
    delete_assessment(container, "a", second.id)
    assert assessment(container, "a", good.id).valid
    assert [one.id for one in trace_data(container, ["a"])["a"].assessments] == [good.id]
    for wrong in ({}, {"assessment_name": ""}, {"assessment_name": "x"}, body | {"expectation": {}}):
        with pytest.raises(BadRequest):
            assess(container, "a", wrong)
    with pytest.raises(BadRequest):
        change_assessment(container, "a", good.id, {"trace_id": "b"})
    with pytest.raises(BadRequest):
        change_assessment(container, "a", good.id, {"expectation": {"value": 1}})
    for call in (
        lambda: assess(container, "none", body),
        lambda: assess(container, "a", body | {"overrides": "none"}),
        lambda: assessment(container, "a", "none"),
        lambda: change_assessment(container, "a", "none", {}),
    ):
        with pytest.raises(NotFound):
            call()
