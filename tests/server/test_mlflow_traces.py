"""Traces as MLflow and OpenTelemetry's exporters write them."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.app.container import Container
from homeostat.domain.errors import BadRequest
from homeostat.domain.traces import Trace
from homeostat.engine.tracking.packing import pack, unpack
from homeostat.engine.tracking.spans import read_protobuf
from homeostat.engine.tracking.telling import tell
from homeostat.server.mlflow.app import Mlflow
from homeostat.server.room import Room
from tests.engine.tracking.test_spans import CHILD, PROTOBUF, SPAN, TRACE, request
from tests.server.asking import Answer, ask

AT = "/api/3.0/mlflow/traces"
ID = f"tr-{TRACE}"
JSON = "application/json"
PLACE = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}


@pytest.fixture
def app(container: Container) -> Iterator[Mlflow]:
    with ThreadPoolExecutor(2) as pool:
        yield Mlflow(container, pool, Room(1 << 30))


def send(app: Mlflow, method: str, path: str, message: Any) -> Answer:
    return ask(app, method, path, body=[msgspec.json.encode(message)], headers={"content-type": JSON})


def export(app: Mlflow, body: bytes, kind: str = JSON, **headers: str) -> Answer:
    given = {"content-type": kind, "x-mlflow-experiment-id": "0"}
    return ask(
        app,
        "POST",
        "/v1/traces",
        body=[body],
        headers=given | {k.replace("_", "-"): v for k, v in headers.items()},
    )


def test_told_of_read_and_removed(app: Mlflow) -> None:
    told = {
        "trace_id": "tr-mine",
        "trace_location": PLACE,
        "request_time": "2026-05-01T12:00:00.5Z",
        "execution_duration": "1.5s",
        "state": "OK",
        "request_preview": "in",
        "tags": {"a": "b"},
        "trace_metadata": {"c": "d"},
    }
    made = send(app, "POST", AT, {"trace": {"trace_info": told}}).json["trace"]["trace_info"]
    assert made == told | {
        "request_time": "2026-05-01T12:00:00.500Z",
        "execution_duration": "1.500s",
        "tags": {"a": "b", "mlflow.artifactLocation": "mlflow-artifacts:/0/traces/tr-mine/artifacts"},
        "trace_metadata": {"c": "d", "mlflow.trace.infoFinalized": "true"},
    }
    assert ask(app, "GET", f"{AT}/tr-mine").json["trace"]["trace_info"] == made
    found = send(app, "POST", f"{AT}/search", {"locations": [PLACE], "filter": "tags.a = 'b'"}).json
    assert found == {"traces": [made]}
    many = {"trace_ids": ["tr-mine", "none"]}
    assert send(app, "POST", f"{AT}/batchGetInfos", many).json == {"trace_infos": [made]}
    assert send(app, "POST", f"{AT}/batchGetInfos", many | {"experiment_ids": ["7"]}).json == {}
    for prefix in (AT, "/api/2.0/mlflow/traces"):
        assert send(app, "PATCH", f"{prefix}/tr-mine/tags", {"key": "t", "value": "1"}).json == {}
        assert send(app, "DELETE", f"{prefix}/tr-mine/tags", {"key": "t"}).json == {}
    until = {"experiment_id": "0", "max_timestamp_millis": 1777636800499}
    assert send(app, "POST", f"{AT}/delete-traces", until).json == {"traces_deleted": 0}
    until["max_timestamp_millis"] += 1
    assert send(app, "POST", f"{AT}/delete-traces", until).json == {"traces_deleted": 1}
    assert ask(app, "GET", f"{AT}/tr-mine").status == 404


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [JSON, "application/x-protobuf"])
def test_exported_spans(app: Mlflow, kind: str, packed: bool) -> None:
    body = request(SPAN, CHILD) if kind == JSON else PROTOBUF
    answer = (
        export(app, gzip.compress(body), kind, content_encoding="gzip") if packed else export(app, body, kind)
    )
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.body == (b"{}" if kind == JSON else b"")
    whole = ask(app, "GET", f"{AT}/get", f"trace_id={ID}").json["trace"]
    assert whole["trace_info"]["state"] == "ERROR"
    assert whole["trace_info"]["execution_duration"] == "1s"
    root, inner = whole["spans"]
    assert root["trace_id"] == "CvdlGRbNQ92ESOshHIAxnA=="
    assert (root["kind"], root["status"]["code"]) == ("SPAN_KIND_SERVER", "STATUS_CODE_ERROR")
    assert inner["parent_span_id"] == root["span_id"] == "t61rcWkgMzE="
    assert ask(app, "GET", f"{AT}/batchGet", f"trace_ids={ID}&trace_ids=none").json == {"traces": [whole]}


def test_numbers_that_json_has_not(app: Mlflow) -> None:
    # NaN as protobuf's JSON writes it
    odd = {
        "attributes": [
            {"key": "k", "value": {"doubleValue": "NaN"}},
            {"key": "l", "value": {"doubleValue": "-Infinity"}},
        ]
    }
    assert export(app, request(SPAN | odd)).status == 200
    spans = ask(app, "GET", f"{AT}/get", f"trace_id={ID}").json["trace"]["spans"]
    assert [one["value"]["double_value"] for one in spans[0]["attributes"]] == ["NaN", "-Infinity"]


def test_a_trace_is_linked_to_a_run(app: Mlflow) -> None:
    create = send(app, "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0"})
    run = create.json["run"]["info"]["run_id"]
    assert export(app, request(SPAN), x_mlflow_run_id=run).status == 200
    send(app, "POST", AT, {"trace": {"trace_info": {"trace_id": "other", "trace_location": PLACE}}})
    search = {"locations": [PLACE], "filter": f"run_id = '{run}'"}
    assert len(send(app, "POST", f"{AT}/search", search).json["traces"]) == 1
    link = {"trace_ids": ["other"], "run_id": run}
    assert send(app, "POST", "/api/2.0/mlflow/traces/link-to-run", link).json == {}
    assert len(send(app, "POST", f"{AT}/search", search).json["traces"]) == 2


def test_assessments(app: Mlflow) -> None:
    export(app, request(SPAN))
    at = f"{AT}/{ID}/assessments"
    body = {
        "assessment_name": "good",
        "trace_id": ID,
        "source": {"source_type": "HUMAN", "source_id": "ada"},
        "feedback": {"value": True},
        "metadata": {"k": "v", "by": "hand"},
    }
    made = send(app, "POST", at, {"assessment": body}).json["assessment"]
    assert made | body == made
    assert made["valid"] is True
    one = f"{at}/{made['assessment_id']}"
    change = {
        "assessment": {"rationale": "r", "assessment_name": "ignored", "metadata": {"by": "rule", "z": "1"}},
        "update_mask": "rationale,metadata",
    }
    changed = send(app, "PATCH", one, change).json["assessment"]
    assert changed["metadata"] == {"k": "v", "by": "rule", "z": "1"}
    for more, status in ((None, 200), ("text", 400), ({"by": "me"}, 200)):
        again = {"assessment": {"metadata": more}, "update_mask": "metadata"}
        assert send(app, "PATCH", one, again).status == status
    changed = ask(app, "GET", one).json["assessment"]
    assert changed["metadata"] == {"k": "v", "by": "me", "z": "1"}
    assert (changed["rationale"], changed["assessment_name"]) == ("r", "good")
    assert ask(app, "GET", one).json == {"assessment": changed}
    assert ask(app, "GET", f"{AT}/{ID}").json["trace"]["trace_info"]["assessments"] == [changed]
    assert send(app, "DELETE", one, {}).json == {}
    assert ask(app, "GET", one).status == 404


def test_expectations_of_objects_are_written_as_json(app: Mlflow) -> None:
    export(app, request(SPAN))
    for value, shown in [
        ({"a": [1]}, {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": '{"a":[1]}'}}),
        (2, {"value": 2}),
    ]:
        body = {"assessment_name": "right", "expectation": {"value": value}}
        made = send(app, "POST", f"{AT}/{ID}/assessments", {"assessment": body}).json["assessment"]
        assert made["expectation"] == shown
        assert "valid" not in made


OLD = "/api/2.0/mlflow/traces"


def test_clients_before_version_3_begin_and_end_traces(app: Mlflow) -> None:
    begun = {
        "experiment_id": "0",
        "timestamp_ms": 1000,
        "request_metadata": [{"key": "m", "value": "1"}, {"key": "n", "value": "2"}],
        "tags": [{"key": "t", "value": "x"}],
    }
    made = send(app, "POST", OLD, begun).json["trace_info"]
    id = made["request_id"]
    place = {"key": "mlflow.artifactLocation", "value": f"mlflow-artifacts:/0/traces/{id}/artifacts"}
    assert made == begun | {
        "request_id": id,
        "execution_time_ms": 0,
        "status": "IN_PROGRESS",
        "tags": [place, {"key": "t", "value": "x"}],
    }
    end = {
        "timestamp_ms": 3000,
        "status": "OK",
        "request_metadata": [{"key": "m", "value": "3"}],
        "tags": [{"key": "mlflow.traceName", "value": "named"}],
    }
    ended = send(app, "PATCH", f"{OLD}/{id}", end).json["trace_info"]
    assert (ended["timestamp_ms"], ended["execution_time_ms"], ended["status"]) == (1000, 2000, "OK")
    assert ended["request_metadata"] == [{"key": "m", "value": "3"}, {"key": "n", "value": "2"}]
    assert [tag["key"] for tag in ended["tags"]] == ["mlflow.artifactLocation", "mlflow.traceName", "t"]
    assert ask(app, "GET", f"{OLD}/{id}/info").json == {"trace_info": ended}
    assert ask(app, "GET", OLD, "experiment_ids=0&filter=name='named'").json == {"traces": [ended]}
    assert ask(app, "GET", f"{AT}/{id}").json["trace"]["trace_info"]["state"] == "OK"


def test_words_in_spans_are_found(app: Mlflow) -> None:
    told = {"attributes": [{"key": "mlflow.spanInputs", "value": {"stringValue": "Größe 50%"}}]}
    export(app, request(SPAN | told))
    for filter, found in [
        ("trace.text LIKE '%Größe%'", True),
        ("span.content ILIKE '%GRÖSSE%' AND name = 'none'", False),
        ("trace.text ILIKE '%spaninputs%'", True),
        ("trace.text LIKE '%spaninputs%'", False),
        ("trace.text LIKE '%smaller%'", False),
        ("trace.text ILIKE '%string%value%'", False),  # what the protocol calls it
    ]:
        answer = send(app, "POST", f"{AT}/search", {"locations": [PLACE], "filter": filter}).json
        assert bool(answer) == found, filter


def test_how_strongly_two_filters_hold_together(app: Mlflow) -> None:
    for number, (kind, state) in enumerate([("a", "OK")] * 3 + [("b", "OK"), ("b", "ERROR"), ("c", "ERROR")]):
        told = {"trace_id": f"tr-{number}", "trace_location": PLACE, "state": state, "tags": {"kind": kind}}
        send(app, "POST", AT, {"trace": {"trace_info": told}})

    def correlation(first: str, second: str, **more: str) -> Any:
        message = {"experiment_ids": ["0"], "filter_string1": first, "filter_string2": second, **more}
        return send(app, "POST", f"{AT}/calculate-filter-correlation", message).json

    found = correlation("tags.kind = 'a'", "status = 'OK'")
    assert {name: found[name] for name in found if name.endswith("count")} == {
        "filter1_count": 3,
        "filter2_count": 4,
        "joint_count": 3,
        "total_count": 6,
    }
    assert found["npmi"] == pytest.approx(math.log(1.5) / math.log(2))
    assert 0 < found["npmi_smoothed"] < found["npmi"]
    assert correlation("tags.kind = 'a'", "status = 'ERROR'")["npmi"] == -1
    assert "npmi" not in correlation("tags.kind = 'none'", "status = 'ERROR'")
    within = correlation("tags.kind = 'a'", "status = 'OK'", base_filter="tags.kind = 'a'")
    assert (within["npmi"], within["total_count"]) == (1, 3)


def test_traces_until_the_end_of_time_are_removed(app: Mlflow) -> None:
    for number, until in enumerate([10**15, 2**63 - 1]):
        told = {"trace_id": f"tr-{number}", "trace_location": PLACE}
        send(app, "POST", AT, {"trace": {"trace_info": told}})
        before = {"experiment_id": "0", "max_timestamp_millis": -(2**63)}
        assert send(app, "POST", f"{AT}/delete-traces", before).json == {"traces_deleted": 0}
        deletion = {"experiment_id": "0", "max_timestamp_millis": until}
        assert send(app, "POST", f"{AT}/delete-traces", deletion).json == {"traces_deleted": 1}


@pytest.mark.parametrize(
    ("body", "kind", "headers", "status"),
    [
        (b"xx", "application/x-protobuf", {}, 400),
        (b"", "application/x-protobuf", {}, 400),
        (PROTOBUF[:-3], "application/x-protobuf", {}, 400),
        (b"{", JSON, {}, 400),
        (b"{}", JSON, {}, 400),
        (b"[]", JSON, {}, 400),
        (b"{}", "text/plain", {}, 400),
        (request(SPAN), JSON, {"x_mlflow_experiment_id": ""}, 400),
        (request(SPAN), JSON, {"x_mlflow_experiment_id": "none"}, 400),
        (request(SPAN), JSON, {"x_mlflow_experiment_id": "99"}, 404),
        (request(SPAN), JSON, {"x_mlflow_run_id": "none"}, 404),
        (request(SPAN), JSON, {"content_encoding": "gzip"}, 400),
        (gzip.compress(request(SPAN))[:-9], JSON, {"content_encoding": "gzip"}, 400),
        (request(SPAN), JSON, {"content_encoding": "br"}, 400),
    ],
)
def test_exports_that_cannot_be(
    app: Mlflow, container: Container, body: bytes, kind: str, headers: dict[str, str], status: int
) -> None:
    answer = export(app, body, kind, **headers)
    assert answer.status == status
    assert answer.json["message"]
    assert container.store.find(Trace) == []


@pytest.mark.parametrize(("spaces", "status"), [(1 << 20, 200), (64 << 20, 400)])
def test_it_counts_how_large_an_export_is_unpacked(
    app: Mlflow, container: Container, spaces: int, status: int
) -> None:
    body = gzip.compress(request(SPAN) + b" " * spaces, 1)
    answer = export(app, body, content_encoding="gzip")
    assert (answer.status, len(container.store.find(Trace))) == (status, int(status == 200))
    if status == 400:
        assert answer.json["message"] == "the body is larger than 67108864 bytes"


@pytest.mark.parametrize(
    ("method", "path", "message", "status"),
    [
        ("POST", AT, {}, 400),
        ("POST", AT, {"trace": {"trace_info": {"trace_id": "a/b", "trace_location": PLACE}}}, 400),
        ("POST", AT, {"trace": {"trace_info": {"trace_id": "a", "trace_location": {}}}}, 400),
        (
            "POST",
            AT,
            {"trace": {"trace_info": {"trace_id": "a", "trace_location": PLACE, "state": "X"}}},
            400,
        ),
        (
            "POST",
            AT,
            {"trace": {"trace_info": {"trace_id": "a", "trace_location": PLACE, "request_time": "x"}}},
            400,
        ),
        (
            "POST",
            AT,
            {"trace": {"trace_info": {"trace_id": "a", "trace_location": PLACE, "execution_duration": "1"}}},
            400,
        ),
        (
            "POST",
            AT,
            {"trace": {"trace_info": {"trace_id": "a", "trace_location": PLACE, "state": "9" * 5000}}},
            400,
        ),
        ("POST", OLD, {"timestamp_ms": 1}, 400),
        ("POST", OLD, {"experiment_id": "99"}, 404),
        ("POST", OLD, {"experiment_id": "0", "timestamp_ms": 2**63 - 1}, 400),
        ("PATCH", f"{OLD}/none", {"timestamp_ms": 1, "status": "OK"}, 404),
        ("PATCH", f"{OLD}/none", {"timestamp_ms": 1, "status": "9" * 5000}, 400),
        ("GET", f"{OLD}/none/info", {}, 404),
        ("GET", OLD, {}, 400),
        ("POST", f"{AT}/calculate-filter-correlation", {"filter_string1": "name = 'a'"}, 400),
        (
            "POST",
            f"{AT}/calculate-filter-correlation",
            {"filter_string1": "name = 'a'", "filter_string2": "none.a = 'b'"},
            400,
        ),
        ("GET", f"{AT}/none", {}, 404),
        ("GET", f"{AT}/none/assessments/a", {}, 404),
        ("POST", f"{AT}/none/assessments", {"assessment": {"assessment_name": "a", "feedback": {}}}, 404),
        ("PATCH", f"{AT}/none/tags", {"key": "a"}, 404),
        ("PATCH", f"{AT}/none/tags", {}, 400),
        ("PATCH", f"{AT}/none/tags", {"key": "a\nb!"}, 400),
        ("POST", f"{AT}/search", {}, 400),
        ("POST", f"{AT}/search", {"locations": [PLACE], "max_results": 501}, 400),
        ("POST", f"{AT}/search", {"locations": [PLACE], "filter": "a ="}, 400),
        ("POST", f"{AT}/delete-traces", {"experiment_id": "0"}, 400),
        ("POST", f"{AT}/delete-traces", {"experiment_id": "99", "request_ids": ["a"]}, 404),
        ("POST", "/api/2.0/mlflow/traces/link-to-run", {"trace_ids": ["a"], "run_id": "none"}, 404),
        ("POST", "/api/2.0/mlflow/traces/link-to-run", {"trace_ids": ["a"] * 101, "run_id": "none"}, 400),
    ],
)
def test_what_cannot_be_is_told(app: Mlflow, method: str, path: str, message: Any, status: int) -> None:
    answer = send(app, method, path, message) if method != "GET" else ask(app, "GET", path)
    assert answer.status == status
    assert answer.json["message"]


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda at, cut: PROTOBUF[:at] + cut + PROTOBUF[at + 1 :],
        st.integers(0, len(PROTOBUF)),
        st.binary(max_size=3),
    )
)
@settings(max_examples=200, deadline=None)
def test_no_export_is_too_odd_to_be_answered(data: bytes) -> None:
    """Reading alone: what is read is checked by the calls above."""
    try:
        spans = read_protobuf(data)
    except BadRequest:
        return
    for span, about in spans:
        tell([span], about)
        assert unpack(pack([span])) is not None
