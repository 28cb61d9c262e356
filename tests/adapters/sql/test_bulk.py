"""Many records in one call, records that give way only to greater ones, and fields set by condition."""

from __future__ import annotations

import math
from typing import Any

import pytest

from homeostat.adapters.sql import SqlMetaStore
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.tracking import Metric, Param

BY = ("step", "timestamp", "value")


def metric(key: str, value: float | None, step: int = 0, timestamp: int = 0) -> Metric:
    return Metric(run="r", key=key, experiment=1, value=value, step=step, timestamp=timestamp)


def params(*keys: str, value: str = "v") -> list[Param]:
    return [Param(run="r", key=key, value=value) for key in keys]


def test_many_are_added_all_or_none(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(*params("a", "b", "é{},\"'\\"))
        with pytest.raises(Conflict, match="key='b'"):
            tx.insert(*params("c", "b", "d"))
        with pytest.raises(Conflict, match="key='e'"):
            tx.insert(*params("e", "e"))
    assert {one.key for one in store.find(Param)} == {"a", "b", "é{},\"'\\"}


def test_of_the_same_key_the_last_one_stays(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.put(*params("a", "b"), *params("a", value="w"))
    assert [(one.key, one.value) for one in store.find(Param)] == [("a", "w"), ("b", "v")]


@pytest.mark.parametrize(
    "bad", [metric("b", math.nan), metric("b\0", 1.0), metric("b\ud800", 1.0), metric("b", 1.0, step=2**63)]
)
def test_values_that_cannot_be_kept_are_refused(store: SqlMetaStore, bad: Metric) -> None:
    with pytest.raises(BadRequest), store.begin() as tx:
        tx.put(metric("a", 1.0), bad, by=BY)
    assert store.count(Metric) == 0


@pytest.mark.parametrize("alone", [True, False])
def test_a_lesser_record_does_not_replace(store: SqlMetaStore, alone: bool) -> None:
    other: list[Any] = [] if alone else [metric("other", 1.0)]
    steps: list[tuple[Metric, float | None]] = [
        (metric("k", None), None),
        (metric("k", -math.inf), -math.inf),
        (metric("k", None), -math.inf),
        (metric("k", 2.0), 2.0),
        (metric("k", 1.0), 2.0),
        (metric("k", 1.0, timestamp=1), 1.0),
        (metric("k", 9.0, step=-1, timestamp=9), 1.0),
        (metric("k", None, step=1), None),
        (metric("k", math.inf, step=1), math.inf),
    ]
    for given, wanted in steps:
        with store.begin() as tx:
            tx.put(given, *other, by=BY)
        found = store.get(Metric, "r", "k")
        assert found is not None
        assert found.value == wanted


def test_fields_are_set_by_condition(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(*params("a", "b", "c"))
        assert tx.update(Param, {"value": "w"}, ("run", "=", "r"), ("key", "in", ["a", "c"])) == 2
        with pytest.raises(BadRequest, match="Param has no field 'none'"):
            tx.update(Param, {"none": 1})
    assert [one.value for one in store.find(Param)] == ["w", "v", "w"]
