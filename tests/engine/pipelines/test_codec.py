"""What a step gives comes back equal and of the same type, or is refused by name."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from homeostat.engine.pipelines.codec import NotKept, decode, encode

plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
        st.datetimes(timezones=st.just(UTC)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@given(plain)
def test_plain_values_come_back(value: Any) -> None:
    assert same(decode(encode(value)), value)


def test_frames_arrays_and_tables_come_back_inside_each_other() -> None:
    frame = pl.DataFrame({"a": [1, None], "t": [datetime(2013, 1, 1, tzinfo=UTC)] * 2, "l": [[1], [2, 3]]})
    value = (frame, {"y": np.arange(6, dtype=np.int8).reshape(2, 3), "loss": np.float32(0.5)}, [frame["a"]])
    found = decode(encode(value))
    assert_frame_equal(found[0], frame)
    assert found[1]["y"].dtype == np.int8
    np.testing.assert_array_equal(found[1]["y"], value[1]["y"])
    assert type(found[1]["loss"]) is np.float32
    assert found[2][0].equals(frame["a"])
    table = pa.table({"x": [1, 2]}, metadata={"unit": "s"})
    assert decode(encode(table)).equals(table, check_metadata=True)
    assert np.isnan(decode(encode(float("nan"))))


def test_equal_frames_have_equal_bytes_however_they_were_built() -> None:
    whole = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    parts = pl.concat([whole[:1], whole[1:]], rechunk=False)
    assert encode(parts) == encode(whole)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, "it is a builtins.set"),
        ({"a": [1, object()]}, r"it\['a'\]\[1\] is a builtins.object"),
        ({1: 2}, "keys that are no texts"),
        (2**80, "it is a builtins.int"),
        (OrderedDict(a=1), "OrderedDict"),
        (pl.LazyFrame({"a": [1]}), "collect it"),
        (pd.DataFrame({"a": [1]}), "pl.from_pandas"),
        (np.array([object()]), "array of Python objects"),
        (pl.DataFrame({"a": [object()]}), "column of Python objects"),
        (datetime(2013, 1, 1), "time zone UTC"),  # noqa: DTZ001 - that is what is refused
        (timedelta(days=1), "datetime.timedelta"),
    ],
)
def test_what_would_not_come_back_is_refused(value: Any, message: str) -> None:
    with pytest.raises(NotKept, match=message):
        encode(value)


def test_an_unknown_kind_is_not_guessed() -> None:
    with pytest.raises(NotKept, match="no kind of value"):
        decode(b"\x92\xa6pickle\xc4\x00")
