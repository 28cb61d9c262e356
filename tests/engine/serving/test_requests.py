"""Every way a body can be wrong is told with the field that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from homeostat.domain.contracts import Column, request_type
from homeostat.domain.errors import BadRequest
from homeostat.engine.serving.requests import InvalidJson, RequestReader, merged
from tests.engine.serving.fakes import COLUMNS, ROW, body, loaded

READER = RequestReader(COLUMNS)


def many(*rows: bytes) -> bytes:
    return b'{"instances":[' + b",".join(rows) + b"]}"


@pytest.mark.parametrize(
    ("request_body", "field", "says"),
    [
        (body(carrier=...), "carrier", "missing"),
        (body(carier="AA"), "carier", "unknown"),
        (body(carrier="XX"), "carrier", "XX"),
        (body(carrier=None), "carrier", "null"),
        (body(distance="far"), "distance", "float"),
        (body(distance=-1), "distance", ">= 0"),
        (body(distance=9000), "distance", "<= 5000"),
        (body(distance=True), "distance", "float"),
        (body(seats=1.5), "seats", "int"),
        (body(seats=0), "seats", ">= 1"),
        (body(seats=2**63), "seats", "<="),
        (body(seats=10**30), "seats", "<="),
        (body(departs="2013-07-01T12:00:00"), "departs", "timezone"),
        (body(departs="yesterday"), "departs", "RFC3339"),
        (body(departs=0), "departs", "datetime"),
        (body(departs="0001-01-01T00:00:00+10:00"), "departs", "outside"),
        (body(code="abc"), "code", "regex"),
        (body(late=1), "late", "bool"),
        (body(id=["a"]), "id", "str"),
        (body().replace(b"1000.0", b"1e999"), "distance", "range"),
        (many(body(), body(), body(), body(carrier="XX")), "instances[3].carrier", "XX"),
        (many(body(), body(distance=...)), "instances[1].distance", "missing"),
        (many(body(), body(wheels=4)), "instances[1].wheels", "unknown"),
        (many(body(), b"3"), "instances[1]", "object"),
        (many(), "instances", "empty"),
        (b'{"instances":{}}', "instances", "array"),
        (b'{"instances":[],"extra":1}', "extra", "unknown"),
        (b'{"extra":1,"instances":[]}', "extra", "unknown"),
        (b"[]", "", "object"),
        (b'"text"', "", "object"),
        (b"null", "", "object"),
    ],
)
def test_the_field_at_fault_is_named(request_body: bytes, field: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        READER.read(request_body)
    assert caught.value.field == field
    assert says in caught.value.message
    assert caught.value.remedy
    assert not isinstance(caught.value, InvalidJson)


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        (body().replace(b"1000.0", b"NaN"), "distance"),
        (body().replace(b"1000.0", b"-Infinity"), "distance"),
        (many(body(), body().replace(b"1000.0", b"NaN")), "instances[1].distance"),
        (b"", ""),
        (b"{", ""),
        (body() + b"x", ""),
        (b"\xff\xfe", ""),
        (body().replace(b'"a"', b'"\xff"'), ""),
        (body().replace(b'"a"', b'"\\ud800"'), ""),
    ],
)
def test_what_is_no_json_is_told_apart(request_body: bytes, field: str) -> None:
    with pytest.raises(InvalidJson) as caught:
        READER.read(request_body)
    assert caught.value.field == field


@pytest.mark.parametrize("part", [b"[", b'{"id":', b'{"instances":[', b'{"x":[NaN,'])
def test_a_bottomless_body_is_refused(part: bytes) -> None:
    with pytest.raises(BadRequest):
        READER.read(part * 100_000)


def test_a_good_body_becomes_rows_in_utc() -> None:
    (row,), single = READER.read(body(departs="2013-07-01T14:00:00+02:00", seats=3))
    values: dict[str, Any] = msgspec.structs.asdict(row)
    assert not single
    assert values["departs"] == datetime(2013, 7, 1, 12, tzinfo=UTC)
    assert values["departs"].tzinfo is UTC
    assert (values["seats"], values["code"], values["late"]) == (3, None, None)
    rows, several = READER.read(b' {\n "instances" : [%s, %s] }' % (body(), body(id="b")))
    assert several
    assert [msgspec.structs.asdict(row)["id"] for row in rows] == ["a", "b"]


def test_an_example_may_hold_more_than_the_contract() -> None:
    assert READER.convert({**ROW, "label": True}) == READER.read(body())[0][0]


def test_what_only_a_canary_knows_may_be_sent_but_need_not() -> None:
    wider = loaded(2, columns=(*COLUMNS, Column(name="gate", type="string")))
    reader = RequestReader(merged(loaded(1), [wider]))
    assert reader.read(body(gate="B4"))[0]
    assert reader.read(body())[0]


@pytest.mark.parametrize(
    ("bounds", "good", "bad"),
    [
        ({"ge": 0.0, "le": 10.0}, (0, 10), (-1, 11)),
        ({"gt": 0.0, "lt": 10.0}, (1, 9), (0, 10)),
        ({"gt": 0.5, "le": 9.5}, (1, 9), (0, 10)),
        ({}, (-(2**63), 2**63 - 1), (-(2**63) - 1, 2**63)),
    ],
)
def test_bounds_of_integers_survive_a_store_that_makes_them_floats(
    bounds: dict[str, float], good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    column = msgspec.json.decode(msgspec.json.encode(Column(name="n", type="integer", **bounds)), type=Column)
    decoder = msgspec.json.Decoder(request_type("R", (column,)))
    for number in good:
        decoder.decode(b'{"n":%d}' % number)
    for number in bad:
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(b'{"n":%d}' % number)
