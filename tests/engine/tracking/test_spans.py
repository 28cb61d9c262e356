"""Spans from OpenTelemetry's exporters: both forms say the same, and what is no such request is refused."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking import spans
from homeostat.engine.tracking.spans import attributes_of, read_json, read_protobuf
from homeostat.engine.tracking.telling import tell, tokens, trace_of

# Made with OpenTelemetry's own messages from the request below.
PROTOBUF = base64.b64decode(
    "CtgCChcKFQoMc2VydmljZS5uYW1lEgUKA3N2YxK8AgoFCgNsaWIS+gEKEAr3ZRkWzUPdhEjrIRyAMZwSCLeta3FpIDMxGgNhPWIqBHJvb3Qw"
    "AjkASFnj+utvFUEAEvQe++tvFUoJCgFzEgQKAsOpShAKAW4SCxj7//////////8BSgcKAWISAhABSg4KAWQSCSEAAAAAAAD4P0oSCgNhcnIS"
    "CyoJCgMKAXgKAhgHShsKAmt2EhUyEwoJCgFhEgQ6AgABCgYKBG5vbmVaHAkArSYB++tvFRIBZRoOCgF4EgkhAAAAAAAA4D9qKAoY0af7651916"
    "cd43dd8448eb211c80319dEgxvtp3pvvXr3bTfffZ6CBIEYm9vbRgChQEBAQAAEjYKEAr3ZRkWzUPdhEjrIRyAMZwSCLeta3FpIDMyIgi3rWtx"
    "aSAzMSoFaW5uZXI5AUhZ4/rrbxU="
)
TRACE, ROOT, INNER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "b7ad6b7169203332"


def value(name: str, inner: Any) -> dict[str, Any]:
    return {f"{name}Value": inner}


def request(*spans: dict[str, Any]) -> bytes:
    resource = {"attributes": [{"key": "service.name", "value": value("string", "svc")}]}
    return msgspec.json.encode(
        {
            "resourceSpans": [
                {"resource": resource, "scopeSpans": [{"scope": {"name": "lib"}, "spans": spans}]}
            ]
        }
    )


ATTRIBUTES = [
    {"key": "s", "value": value("string", "é")},
    {"key": "n", "value": value("int", "-5")},
    {"key": "b", "value": value("bool", True)},
    {"key": "d", "value": value("double", 1.5)},
    {"key": "arr", "value": value("array", {"values": [value("string", "x"), value("int", "7")]})},
    {
        "key": "kv",
        "value": value(
            "kvlist", {"values": [{"key": "a", "value": value("bytes", "AAE=")}, {"key": "none"}]}
        ),
    },
]
SPAN: dict[str, Any] = {
    "traceId": TRACE,
    "spanId": ROOT,
    "name": "root",
    "kind": 2,
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": "1544712661000000000",
    "attributes": ATTRIBUTES,
    "status": {"code": 2, "message": "boom"},
    "events": [
        {
            "timeUnixNano": "1544712660500000000",
            "name": "e",
            "attributes": [{"key": "x", "value": value("double", 0.5)}],
        }
    ],
    "flags": 257,
    "traceState": "a=b",
}
CHILD: dict[str, Any] = {
    "traceId": TRACE,
    "spanId": INNER,
    "parentSpanId": ROOT,
    "name": "inner",
    "startTimeUnixNano": "1544712660000000001",
}


def test_protobuf_and_json_say_the_same() -> None:
    binary, text = read_protobuf(PROTOBUF), read_json(request(SPAN, CHILD))
    for span, _ in binary:
        span.pop("links", None)
    assert binary == text
    (root, about), (inner, _) = text
    assert about == {"service.name": "svc"}
    assert (root["trace_id"], root["span_id"], root["kind"]) == (TRACE, ROOT, "SERVER")
    assert root["end_time_unix_nano"] - root["start_time_unix_nano"] == 10**9
    assert root["status"] == {"code": "ERROR", "message": "boom"}
    assert inner["parent_span_id"] == ROOT
    assert attributes_of(root["attributes"]) == {
        "s": "é",
        "n": -5,
        "b": True,
        "d": 1.5,
        "arr": ["x", 7],
        "kv": {"a": "AAE=", "none": None},
    }


@given(st.binary(max_size=200))
def test_noise_is_refused_or_holds_no_span(data: bytes) -> None:
    with suppress(BadRequest):
        assert all(len(span["trace_id"]) == 32 for span, _ in read_protobuf(data))
    with suppress(BadRequest):
        read_json(data)


@given(st.integers(0, len(PROTOBUF) - 1), st.integers(0, 255))
def test_a_damaged_request_does_no_harm(place: int, byte: int) -> None:
    for data in (PROTOBUF[:place], PROTOBUF[:place] + bytes([byte]) + PROTOBUF[place + 1 :]):
        with suppress(BadRequest):
            read_protobuf(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"traceId": ""},
        {"traceId": "0a"},
        {"traceId": "none"},
        {"spanId": None},
        {"kind": 9},
        {"kind": "SPAN_KIND_NONE"},
        {"startTimeUnixNano": "soon"},
        {"startTimeUnixNano": str(2**64)},
        {"name": 5},
        {"attributes": {}},
        {"attributes": [5]},
        {"status": []},
    ],
)
def test_spans_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="Invalid OpenTelemetry format"):
        read_json(request(SPAN | changes))


def test_values_deep_in_each_other_are_refused() -> None:
    deep: dict[str, Any] = value("int", "1")
    for _ in range(200):
        deep = value("array", {"values": [deep]})
    with pytest.raises(BadRequest, match="deep"):
        read_json(request(SPAN | {"attributes": [{"key": "k", "value": deep}]}))


def test_requests_of_too_many_fields_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read_json(request(SPAN, CHILD))) == 2
    monkeypatch.setattr(spans, "_MOST", 20)
    for read, data in ((read_json, request(SPAN, CHILD)), (read_protobuf, b"\x48\x01" * 21)):
        with pytest.raises(BadRequest, match="more than 20 fields"):
            read(data)


def told(**attributes: Any) -> Any:
    pairs = [{"key": key, "value": inner} for key, inner in attributes.items()]
    spans = [span for span, _ in read_json(request(SPAN | {"attributes": pairs}, CHILD))]
    return tell(spans, {"service.name": "svc", "telemetry.sdk.name": "x", "mlflow.mine": "no"})


def test_what_spans_tell_of_their_trace() -> None:
    found = told(
        **{
            "session.id": value("string", "S"),
            "user.id": value("string", "U"),
            "mlflow.spanInputs": value("kvlist", {"values": [{"key": "x", "value": value("int", "1")}]}),
            "mlflow.spanOutputs": value("string", "y" * 2000),
            "mlflow.spanType": value("string", "CHAIN"),
            "mlflow.traceTag.foo": value("string", "bar"),
        }
    )
    assert (found.began, found.ended) == (1544712660000000000, 1544712661000000000)
    assert (found.name, found.state) == ("root", "ERROR")
    assert found.metadata == {"mlflow.trace.session": "S", "mlflow.trace.user": "U"}
    assert found.tags == {"service.name": "svc", "foo": "bar"}
    assert found.request == '{"x":1}'
    assert len(found.response) == 1000
    assert found.kinds == {("root", "CHAIN", "ERROR"), ("inner", "UNKNOWN", "UNSET")}


def test_tokens_are_counted_once_where_an_upper_span_sums_up() -> None:
    def spending(id: str, parent: str, total: int) -> dict[str, Any]:
        usage = {"key": "mlflow.chat.tokenUsage", "value": value("string", f'{{"total_tokens": {total}}}')}
        return CHILD | {"spanId": id * 16, "parentSpanId": parent * 16, "attributes": [usage]}

    spans = [
        span
        for span, _ in read_json(
            request(spending("1", "", 30), spending("2", "1", 10), spending("3", "9", 5))
        )
    ]
    assert tokens(spans) == {"total_tokens": 35}
    assert trace_of(spans[0]) == f"tr-{TRACE}"
