"""Contracts on frames: what meets them goes on, what does not is set aside, row by row and with its reason."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import homeostat as hs
from homeostat.domain.contracts import Column, columns_of
from homeostat.domain.errors import BadRequest, ContractBroken
from homeostat.engine.data.check import check
from homeostat.engine.serving.requests import RequestReader


class Row(hs.Contract):
    id: int
    at: datetime
    kind: Literal["a", "b"]
    heat: Annotated[float, hs.Check(ge=-10, lt=40)] | None
    count: Annotated[int, hs.Check(gt=0)]


COLUMNS = columns_of(Row)
AT = datetime(2024, 1, 1, tzinfo=UTC)
SCHEMA = {
    "id": pl.Int64(),
    "at": pl.Datetime("us", "UTC"),
    "kind": pl.String(),
    "heat": pl.Float64(),
    "count": pl.Int64(),
}
rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 6)),
        st.one_of(st.none(), st.just(AT)),
        st.sampled_from(["a", "b", "c", None]),
        st.one_of(st.none(), st.sampled_from([-10.0, -10.5, 39.9, 40.0, math.nan, math.inf])),
        st.one_of(st.none(), st.integers(-1, 2)),
    ),
    max_size=8,
)


def sound(row: tuple[Any, ...]) -> bool:
    id, at, kind, heat, count = row
    cold = heat is None or math.isnan(heat) or -10 <= heat < 40
    return (
        id is not None and at is not None and kind in ("a", "b") and cold and count is not None and count > 0
    )


@settings(deadline=None)
@given(rows, st.booleans())
def test_exactly_the_rows_that_break_a_rule_are_set_aside(data: list[tuple[Any, ...]], as_is: bool) -> None:
    frame = pl.DataFrame(data, schema=SCHEMA, orient="row")
    if not as_is:  # the same values in types that must be cast first
        frame = frame.with_columns(
            pl.col("count").cast(pl.Int8), pl.col("heat").cast(pl.Float32).cast(pl.Float64)
        )
    checked = check("things", frame, COLUMNS, ["id"])
    seen: set[Any] = set()
    expected = []
    for row in data:
        first = row[0] not in seen
        seen.add(row[0])
        if first and sound(row):
            expected.append(row[0])
    assert checked.good["id"].to_list() == expected
    assert checked.bad == len(data) - len(expected)
    assert (checked.bad > 0) == bool(checked.problems)
    assert checked.good.schema == pl.Schema(SCHEMA)
    assert not checked.good["heat"].is_nan().any()


def test_what_cannot_be_read_is_not_missing_too() -> None:
    frame = pl.DataFrame({"id": ["1", "2", "3"], "heat": ["1.5", "warm", None]})

    class Plain(hs.Contract):
        id: int
        heat: float

    problems = check("things", frame, columns_of(Plain), ["id"]).problems
    assert [(one.reason, one.rows["id"].to_list()) for one in problems] == [
        ("is no float", ["2"]),
        ("is missing", ["3"]),
    ]


def test_infinity_is_no_value_and_nan_is_a_missing_one() -> None:
    class Plain(hs.Contract):
        id: int
        heat: float | None

    frame = pl.DataFrame({"id": [1, 2, 3, 4], "heat": [1.0, math.nan, math.inf, -math.inf]})
    for rows in (frame, frame.with_columns(pl.col("heat").cast(pl.String))):
        checked = check("things", rows, columns_of(Plain), ["id"])
        assert checked.good.rows() == [(1, 1.0), (2, None)]
        assert [(one.column, one.reason, one.rows.height) for one in checked.problems] == [
            ("heat", "is infinite", 2)
        ]


def test_a_vector_of_what_is_no_number_is_refused() -> None:
    class Text(hs.Contract):
        id: int
        meaning: Annotated[list[float], hs.Check(size=2)]

    frame = pl.DataFrame({"id": [1], "meaning": [["a", "b"]]})
    with pytest.raises(ContractBroken, match="'meaning' of String, which are no numbers") as refused:
        check("texts", frame, columns_of(Text), ["id"])
    assert refused.value.remedy == "Send lists of 2 numbers"


def test_columns_must_be_those_of_the_contract() -> None:
    frame = pl.DataFrame([(1, AT, "a", 1.0, 1)], schema=SCHEMA, orient="row")
    with pytest.raises(ContractBroken, match="colour"):
        check("things", frame.with_columns(colour=pl.lit("red")), COLUMNS, ["id"])
    with pytest.raises(ContractBroken, match="count"):
        check("things", frame.drop("count"), COLUMNS, ["id"])
    assert check("things", frame.drop("heat"), COLUMNS, ["id"]).good["heat"].to_list() == [None]


PATTERNS = [
    r"^[A-Z]{2}\d+$",
    r"^\d+$",
    r"\w\b\W?",
    r"(?i)^stra(ss|ß)e\s",
    r"^(?!bad)[a-z]+",
    r"(.)\1",
    r"^[^@\s]+@[^@\s]+\Z",
]


@given(data=st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_tables_and_requests_find_the_same_patterns(pattern: str, data: st.DataObject) -> None:
    texts = st.one_of(st.from_regex(pattern), st.text(), st.sampled_from(["12\n", "١٢", "e\u0301", "a\x1c"]))
    values = data.draw(st.lists(texts.filter(lambda text: "\x00" not in text), min_size=1, max_size=8))
    columns = (Column(name="k", type="string", pattern=pattern, nullable=True),)
    reader = RequestReader(columns)
    taken = []
    for value in values:
        try:
            reader.take([{"k": value}])
            taken.append(value)
        except BadRequest:
            continue
    assert check("d", pl.DataFrame({"k": [None, *values]}), columns, ()).good["k"].to_list() == [None, *taken]


class Placed(hs.Contract):
    spot: Annotated[list[Annotated[float, hs.Check(ge=0, lt=1, unit="share")]], hs.Check(size=2)]


def test_numbers_of_a_vector_keep_their_bounds() -> None:
    columns = columns_of(Placed)
    assert {(column.ge, column.lt, column.unit) for column in columns} == {(0, 1, "share")}
    found = check("d", pl.DataFrame({"spot": [[0.0, 0.5], [5.0, 0.5], [0.5, -3.0], [0.5, 1.0]]}), columns, ())
    assert found.good.rows() == [(0.0, 0.5)]
    assert [(problem.column, problem.reason) for problem in found.problems] == [
        ("spot__0", "is not below 1"),
        ("spot__1", "is below 0"),
        ("spot__1", "is not below 1"),
    ]
    reader = RequestReader(columns)
    assert reader.take([{"spot": [0.0, 0.5]}])
    with pytest.raises(BadRequest, match="Expected `float`") as refused:
        reader.read(b'{"spot": [0.5, -3.0]}')
    assert refused.value.field.endswith("spot__1")
