"""Values in words, whatever their files hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.engine.tracking.shown import place_of, rows_of, told

TYPES = ["audio", "confusion-matrix", "curve", "histogram", "image", "plotly", "table", "text"]
FIELDS = [
    "axes",
    "caption",
    "classes",
    "columns",
    "count",
    "counts",
    "edges",
    "first",
    "mean",
    "min",
    "rows",
    "x",
]
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from([*FIELDS, "text", "width", "y"]), ANYTHING))
def test_what_others_wrote_has_words_too(type: str, detail: dict[str, Any]) -> None:
    assert told(type, detail)
    rows_of(type, detail)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("values/val/roc/000000000003-1700-0001.json", ("val/roc", 3, 1700)),
        ("values/a/-00000000003-1700-0001.json", ("a", -3, 1700)),
        ("values/a/000000000003-1700-0001.plotly.json", None),
        ("values/a/000000000003-1700-0001.png", None),
        ("values/notes.json", None),
        ("values/000000000003-1700-0001.json", None),
    ],
)
def test_the_place_of_a_value(path: str, place: tuple[str, int, int] | None) -> None:
    assert place_of(path) == place
