"""Stored spans are those that came, and hold no words but theirs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homeostat.engine.tracking.packing import outline, pack, unpack

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"string_value": TEXT}),
    st.fixed_dictionaries({"bool_value": st.booleans()}),
    st.fixed_dictionaries({"int_value": st.integers(-(2**63), 2**63 - 1)}),
    st.fixed_dictionaries(
        {"double_value": st.floats(allow_nan=False, allow_infinity=False) | st.just("NaN")}
    ),
    st.fixed_dictionaries({"bytes_value": st.just("AAE=")}),
    st.just({}),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"array_value": st.fixed_dictionaries({"values": st.lists(inner, max_size=3)})}
        ),
        st.fixed_dictionaries(
            {
                "kvlist_value": st.fixed_dictionaries(
                    {"values": st.lists(st.fixed_dictionaries({"key": TEXT, "value": inner}), max_size=3)}
                )
            }
        ),
    ),
    max_leaves=8,
)
PAIRS = st.lists(st.fixed_dictionaries({"key": TEXT, "value": VALUES}), max_size=3)
SPANS = st.fixed_dictionaries(
    {"span_id": st.just("b7ad6b7169203331"), "name": TEXT},
    optional={
        "attributes": PAIRS,
        "events": st.lists(st.fixed_dictionaries({"name": TEXT}, optional={"attributes": PAIRS}), max_size=2),
        "links": st.lists(
            st.fixed_dictionaries({"trace_state": TEXT}, optional={"attributes": PAIRS}), max_size=2
        ),
        "status": st.just({"code": "OK"}),
    },
)


@given(st.lists(SPANS, max_size=3))
def test_what_is_packed_comes_back(spans: list[dict[str, Any]]) -> None:
    text = pack(spans)
    assert unpack(text) == spans
    assert "_value" not in text


@given(st.lists(SPANS, max_size=3), TEXT)
def test_an_outline_has_one_attribute(spans: list[dict[str, Any]], key: str) -> None:
    for one in (key, *(pair["key"] for span in spans for pair in span.get("attributes", []))):
        for found, span in zip(outline(pack(spans), one), spans, strict=True):
            wanted = [pair for pair in span.get("attributes", []) if pair["key"] == one]
            assert found == {"span_id": span["span_id"], "parent_span_id": "", "attributes": wanted}
