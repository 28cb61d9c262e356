"""The law of features: what training sees is what serving saw, and neither sees the future."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import homeostat as hs
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import FeatureView, Windows
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.featureset import FeatureSet, changes, online_key
from homeostat.engine.features.windows import recent

START = datetime(2013, 3, 1, tzinfo=UTC)
UTC_US = pl.Datetime("us", "UTC")
SCHEMAS = {
    "asks": pl.Schema({"id": pl.String(), "at": UTC_US, "who": pl.String(), "size": pl.Float64()}),
    "events": pl.Schema(
        {"id": pl.String(), "when": UTC_US, "who": pl.String(), "value": pl.Float64(), SEQ: pl.Int64()}
    ),
}
ASKS = hs.Dataset("asks", key="id", time="at")


class Memory:
    """An online store in a dictionary."""

    def __init__(self) -> None:
        self.data: dict[tuple[str, bytes], bytes] = {}
        self.at: dict[str, int] = {}

    def position(self, view: str) -> int:
        return self.at.get(view, -1)

    def write(self, view: str, entries: Mapping[bytes, bytes], position: int) -> None:
        self.data.update({(view, key): value for key, value in entries.items()})
        self.at[view] = position

    def read(self, keys: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        return [self.data.get(key) for key in keys]

    def clear(self, view: str) -> None:
        self.data = {key: value for key, value in self.data.items() if key[0] != view}
        self.at.pop(view, None)

    def close(self) -> None: ...


def update(
    view: FeatureView | Windows, delivery: Delivery, store: Memory, now: datetime, position: int
) -> None:
    store.write(online_key(view), changes(view, delivery, store, now), position)


def declared(every: str | None) -> tuple[hs.Dataset, FeatureSet]:
    source = hs.Dataset("events", key="id", time="when", every=every)
    who = hs.Entity("who")

    @hs.feature_view(entity=who, source=source, ttl="5h", age=True)
    def last(e: pl.LazyFrame) -> pl.LazyFrame:
        return e.select("value")

    spans = hs.windows(
        "spans",
        entity=who,
        source=source,
        mean="value",
        sum="value",
        count=True,
        over=["2h", "1d"],
        tile="1h",
    )

    @hs.on_request
    def double(r: pl.LazyFrame) -> pl.LazyFrame:
        return r.select(size=pl.col("size") * 2)

    return source, FeatureSet([last, spans, double], ASKS, SCHEMAS)


whole = st.integers(0, 48 * 60)
events = st.lists(
    st.tuples(
        whole,
        st.sampled_from(["a", "b", None]),
        st.one_of(
            st.none(),
            st.integers(-5, 5).map(float),
            st.sampled_from([math.inf, 9.96921e36, -1e20, 0.1, 1e-3]),
        ),
    ),
    max_size=25,
)
asks = st.lists(st.tuples(whole, st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=5)


def frames(rows: list[Any], questions: list[Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    data = pl.DataFrame(
        [(f"e{i:03}", START + timedelta(minutes=m), who, value, 0) for i, (m, who, value) in enumerate(rows)],
        schema=SCHEMAS["events"],
        orient="row",
    )
    wanted = pl.DataFrame(
        [(f"q{i:03}", START + timedelta(minutes=m), who, 1.5) for i, (m, who) in enumerate(questions)],
        schema=SCHEMAS["asks"],
        orient="row",
    )
    return data, wanted


def seen_from(when: datetime, every: str | None) -> datetime:
    if every is None:
        return when
    hour = when.replace(minute=0, second=0, microsecond=0)
    return hour if hour == when else hour + timedelta(hours=1)


@settings(max_examples=60, deadline=None)
@given(events, asks, st.sampled_from([None, "1h"]))
def test_training_sees_what_serving_saw(rows: list[Any], questions: list[Any], every: str | None) -> None:
    _, features = declared(every)
    data, wanted = frames(rows, questions)
    offline = features.offline(wanted, {"events": data.lazy()})
    ordered = data.with_columns(pl.Series("seen", [seen_from(t, every) for t in data["when"]], dtype=UTC_US))
    for i, ask in enumerate(wanted.iter_rows(named=True)):
        store = Memory()
        known = ordered.filter(pl.col("seen") <= ask["at"]).sort("when")
        for seq, (_, batch) in enumerate(known.group_by("seen", maintain_order=True)):
            rows_in = batch.drop("seen").with_columns(pl.lit(seq, pl.Int64).alias(SEQ))
            for view in features.stored:
                assert isinstance(view, FeatureView | Windows)
                update(view, Delivery(view.source, rows_in), store, ask["at"], seq)
        online = features.online(wanted[i : i + 1], [ask["at"]], store)
        assert online.X.schema == offline.schema
        for name in features.names:
            left, right = offline[name][i], online.X[name][0]
            assert_same(name, left, right, in_window(data, ask, name, every))
        for times in online.as_of.values():
            assert times[0] is None or times[0] <= ask["at"]


def assert_same(name: str, left: float | None, right: float | None, inside: list[float]) -> None:
    """Both are equal, or as close as two sums over the rows in a window are that add in different orders."""
    if left is None or right is None or ("_sum_" not in name and "_mean_" not in name):
        assert left == right, (name, left, right)
        return
    bound = 2 * len(inside) / 2**53 * math.fsum(map(abs, inside))
    if "_mean_" in name:
        bound = bound / len(inside) + math.ulp(left)
    assert abs(left - right) <= bound, (name, left, right)


def in_window(data: pl.DataFrame, ask: dict[str, Any], name: str, every: str | None) -> list[float]:
    """The values that a window counts."""
    hours = {"2h": 2, "1d": 24}.get(name.rpartition("_")[2], 0)
    start = (ask["at"] - timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)
    return [
        row["value"]
        for row in data.iter_rows(named=True)
        if row["who"] is not None
        and row["who"] == ask["who"]
        and row["value"] is not None
        and math.isfinite(row["value"])
        and start < seen_from(row["when"], every) <= ask["at"]
    ]


def as_of(data: pl.DataFrame, who: str | None, every: str | None, back: int) -> datetime | None:
    """When the newest row of ``who`` may be seen, or those ``back`` moments before it."""
    moments = {seen_from(row["when"], every) for row in data.iter_rows(named=True) if row["who"] == who}
    return sorted(moments)[-1 - back] if len(moments) > back else None


@settings(max_examples=200, deadline=None)
@given(
    events,
    st.lists(st.integers(0, 3), min_size=25, max_size=25),
    asks,
    st.sampled_from([None, "1h"]),
    st.booleans(),
)
def test_rows_that_came_early_or_late_change_nothing(
    rows: list[Any], batches: list[int], questions: list[Any], every: str | None, rebuilt: bool
) -> None:
    """Everything is in the online store, in any order: what is not due yet, what came after the request, what is late.

    Requests no older than the row before the newest get what training sees, and older ones nothing of the future.
    """
    _, features = declared(every)
    data, wanted = frames(rows, questions)
    data = data.with_columns(pl.Series(SEQ, batches[: len(data)], dtype=pl.Int64))
    offline = features.offline(wanted, {"events": data.lazy()})
    now, store = START + timedelta(days=2), Memory()
    for view in features.stored:
        assert isinstance(view, FeatureView | Windows)
        if rebuilt:
            kept = recent(view, data, now) if isinstance(view, Windows) else data
            update(view, Delivery(view.source, kept), store, now, 3)
            continue
        for seq in sorted(set(data[SEQ])):
            update(view, Delivery(view.source, data.filter(pl.col(SEQ) == seq)), store, now, seq)
    for i, ask in enumerate(wanted.iter_rows(named=True)):
        online = features.online(wanted[i : i + 1], [ask["at"]], store)
        counting = data.filter(pl.col("value").is_finite())
        for name in features.names:
            left, right = offline[name][i], online.X[name][0]
            view = name.partition("__")[0]
            before = as_of(counting if view == "spans" else data, ask["who"], every, back=1)
            if view == "double" or before is None or ask["at"] >= before:
                assert_same(name, left, right, in_window(data, ask, name, every))
            elif view == "last":
                assert right is None  # the store looks back no further
        if online.X["last__age_hours"][0] is not None:
            whose = data.filter((pl.col("who") == ask["who"]) & (pl.col("when") <= ask["at"]))
            seen = [s for when in whose["when"] if (s := seen_from(when, every)) <= ask["at"]]
            assert online.as_of["last"] == [max(seen)]
        for times in online.as_of.values():
            assert times[0] is None or times[0] <= ask["at"]


@settings(max_examples=60, deadline=None)
@given(events, asks, st.sampled_from([None, "1h"]))
def test_the_future_changes_nothing(rows: list[Any], questions: list[Any], every: str | None) -> None:
    """Removing every row that could not be seen yet leaves each request's features as they are."""
    _, features = declared(every)
    data, wanted = frames(rows, questions)
    whole_story = features.offline(wanted, {"events": data.lazy()})
    for i, ask in enumerate(wanted.iter_rows(named=True)):
        past = data.filter(
            pl.Series([seen_from(t, every) <= ask["at"] for t in data["when"]], dtype=pl.Boolean)
        )
        alone = features.offline(wanted[i : i + 1], {"events": past.lazy()})
        assert alone.row(0) == whole_story.row(i)


@settings(max_examples=100, deadline=None)
@given(events, asks)
def test_windows_sum_what_is_in_them_and_nothing_else(rows: list[Any], questions: list[Any]) -> None:
    _, features = declared(None)
    data, wanted = frames(rows, questions)
    made = features.offline(wanted, {"events": data.lazy()})
    for i, ask in enumerate(wanted.iter_rows(named=True)):
        for name in ("2h", "1d"):
            inside = in_window(data, ask, name, None)
            assert made[f"spans__count_{name}"][i] == len(inside)
            assert_same(f"spans__sum_{name}", made[f"spans__sum_{name}"][i], math.fsum(inside), inside)
            expected = math.fsum(inside) / len(inside) if inside else None
            assert_same(f"spans__mean_{name}", made[f"spans__mean_{name}"][i], expected, inside)


def test_a_planted_leak_is_found() -> None:
    """The comparison above does find a view that looks ahead: the same law fails on a leaking transform."""
    source = hs.Dataset("events", key="id", time="when")

    @hs.feature_view(entity=hs.Entity("who"), source=source)
    def next_value(e: pl.LazyFrame) -> pl.LazyFrame:
        return e.select(pl.col("value").shift(-1))

    features = FeatureSet([next_value], ASKS, SCHEMAS)
    data, wanted = frames([(10, "a", 1.0), (20, "a", 2.0)], [(15, "a")])
    whole_story = features.offline(wanted, {"events": data.lazy()})
    past = features.offline(wanted, {"events": data[:1].lazy()})
    with pytest.raises(AssertionError):
        assert whole_story.row(0) == past.row(0)


def test_a_request_does_not_see_its_own_label() -> None:
    """Requests and labels in one dataset: when it was asked, the row held no label yet."""
    visits = hs.Dataset("visits", key="id", time="at")
    schema = pl.Schema(
        {"id": pl.String(), "at": UTC_US, "who": pl.String(), "good": pl.Boolean(), SEQ: pl.Int64()}
    )
    who = hs.Entity("who")

    @hs.feature_view(entity=who, source=visits)
    def last(v: pl.LazyFrame) -> pl.LazyFrame:
        return v.select("good")

    past = hs.windows("past", entity=who, source=visits, mean="good", count=True, over=["1d"])
    data = pl.DataFrame(
        [("v1", START, "a", True, 1), ("v2", START + timedelta(hours=1), "a", False, 2)],
        schema=schema,
        orient="row",
    )
    features = FeatureSet([last, past], visits, {"visits": schema}, skip=["good"])
    assert features.offline(data.drop(SEQ, "good"), {"visits": data.lazy()}).rows() == [
        (None, None, 0.0),
        (1.0, 1.0, 1.0),
    ]


def test_a_request_older_than_the_row_before_the_newest_sees_nothing_newer() -> None:
    _, features = declared(None)
    data, wanted = frames(
        [(10, "a", 1.0), (150, "a", 3.0), (200, "a", 5.0)], [(30, "a"), (60, "a"), (160, "a")]
    )
    store = Memory()
    for view in features.stored:
        assert isinstance(view, FeatureView | Windows)
        update(view, Delivery(view.source, data), store, START + timedelta(hours=5), 0)
    found = features.online(wanted, wanted["at"].to_list(), store)
    assert found.X["last__value"].to_list() == [None, None, 3.0]
    # At 00:30 the tile of the first event had not ended; at 02:40 that of the second had not, and it is known.
    assert found.X["spans__sum_1d"].to_list() == [0.0, 1.0, 4.0]


def test_entries_of_another_form_are_as_good_as_none() -> None:
    """An online store that an earlier version of Homeostat filled: what it holds is built anew, not misread."""
    _, features = declared(None)
    _, wanted = frames([], [(30, "a")])
    store = Memory()
    for view in features.stored:
        store.write(f"{view.name}:{view.digest[7:19]}", {b"a": b"of another form"}, 7)
        assert store.position(online_key(view)) == -1
    row = features.online(wanted, [START + timedelta(minutes=30)], store).X.row(0, named=True)
    assert (row["last__value"], row["spans__count_1d"]) == (None, 0.0)


def test_a_changed_definition_is_another_key() -> None:
    source = hs.Dataset("events", key="id", time="when")
    one = hs.windows("w", entity=hs.Entity("who"), source=source, count=True, over=["1h"])
    two = hs.windows("w", entity=hs.Entity("who"), source=source, count=True, over=["2h"])
    assert online_key(one) != online_key(two)
