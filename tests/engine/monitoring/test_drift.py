"""Counts add up, equal data have no drift, chance is not taken for drift, and drift is found."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import contingency, wasserstein_distance

from homeostat.domain.errors import BadRequest
from homeostat.engine.monitoring.drift import distance, drift, psi
from homeostat.engine.monitoring.reference import (
    Numbers,
    Profile,
    Reference,
    labels,
    merge,
    profile,
    reference,
)

RNG = np.random.default_rng(4)

number = st.one_of(st.none(), st.floats(width=32), st.sampled_from([0.0, 1.0]))
text = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "missing", "other"]))
frames = st.lists(st.tuples(number, text, st.one_of(st.none(), st.booleans())), max_size=30).map(
    lambda rows: pl.DataFrame(rows, schema={"x": pl.Float64, "s": pl.String, "b": pl.Boolean}, orient="row")
)
counts = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=25)


@given(st.lists(st.integers(0, 99), min_size=21, max_size=200).filter(lambda rows: len(set(rows)) > 20))
def test_edges_are_values_that_twentieths_of_the_rows_reach(rows: list[int]) -> None:
    bins = reference(pl.DataFrame({"x": rows})).features["x"]
    assert isinstance(bins, Numbers)
    # The least value that so many rows do not exceed: the inverted distribution function (Hyndman & Fan's first).
    reached = {min(x for x in rows if 20 * sum(row <= x for row in rows) >= len(rows) * k) for k in range(20)}
    assert bins.edges == [*sorted(reached), np.nextafter(max(rows), np.inf)]


@given(frames, frames)
def test_what_is_not_summed_up_counts_the_same(training: pl.DataFrame, rows: pl.DataFrame) -> None:
    known = reference(training)
    bare, whole = profile(known, rows, summed_up=False), profile(known, rows)
    assert (bare.counts, bare.summaries) == (whole.counts, {})


@given(frames, frames, frames)
def test_profiles_add_as_their_rows_do(training: pl.DataFrame, a: pl.DataFrame, b: pl.DataFrame) -> None:
    known = reference(training)
    whole = profile(known, pl.concat([a, b]))
    for merged in (merge(profile(known, a), profile(known, b)), merge(profile(known, b), profile(known, a))):
        assert (merged.rows, merged.counts) == (whole.rows, whole.counts)
        assert {name: one.registers for name, one in merged.summaries.items()} == {
            name: one.registers for name, one in whole.summaries.items()
        }
    assert merge(whole, Profile()) == whole == merge(Profile(), whole)
    for name, bins in known.features.items():
        assert sum(whole.counts[name]) == len(a) + len(b)
        assert len(whole.counts[name]) == len(labels(bins)) == len(bins.counts)


@given(frames)
def test_the_training_data_have_no_drift_and_survive_json(training: pl.DataFrame) -> None:
    known = reference(training)
    assert Reference.read(json.loads(json.dumps(known.dump()))) == known
    seen = profile(known, training)
    assert seen.summaries == known.summaries
    for one in drift(known, seen):
        assert seen.counts[one.feature] == known.features[one.feature].counts
        assert one.psi == 0
        assert one.excess == 0
        assert one.distance == pytest.approx(0, abs=1e-7)


@given(frames, frames)
def test_the_drift_of_a_feature_is_its_own_whatever_stands_beside_it(
    training: pl.DataFrame, rows: pl.DataFrame
) -> None:
    known = reference(training)
    found = {one.feature: one for one in drift(known, profile(known, rows))}
    for name in training.columns:
        bins = reference(training.select(name))
        alone = drift(bins, profile(bins, rows))
        assert [one.feature for one in alone] == ([name] if name in found else [])
        for one in alone:
            beside = msgspec.structs.asdict(found[name])
            assert msgspec.structs.asdict(one) == {
                key: pytest.approx(value, abs=1e-12) if isinstance(value, float) else value
                for key, value in beside.items()
            }


@given(counts)
def test_the_index_is_never_negative_symmetric_and_zero_on_equal_counts(pairs: list[tuple[int, int]]) -> None:
    before, now = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    assert psi(before, now) >= 0
    assert psi(before, now) == pytest.approx(psi(now, before))
    assert psi(before, before) == 0
    if before.sum() and now.sum():
        assert distance(before, now) == pytest.approx(float(jensenshannon(before, now, base=2)), abs=1e-6)


@pytest.mark.parametrize("by", [0.0, 0.3, 2.0])
def test_distances_are_those_of_the_rows_to_within_a_bin(by: float) -> None:
    before, now = RNG.normal(size=2000), RNG.normal(by, 1, 500)
    known = reference(pl.DataFrame({"x": before}))
    bins, seen = known.features["x"], profile(known, pl.DataFrame({"x": now}))
    (found,) = drift(known, seen)
    assert isinstance(bins, Numbers)
    apart = [abs(np.mean(before < edge) - np.mean(now < edge)) for edge in bins.edges]
    assert found.ks == pytest.approx(max(apart))
    inside = np.clip(now, before.min(), before.max())
    assert found.wasserstein == pytest.approx(wasserstein_distance(before, inside), rel=0.1, abs=0.05)
    table = np.array([bins.counts, seen.counts["x"]])
    expected = contingency.association(table[:, table.sum(0) > 0], correction=False)
    assert found.association == pytest.approx(expected)


def training(rows: int = 20_000) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "temp": RNG.normal(60, 15, rows),
            "rain": np.where(RNG.random(rows) < 0.9, 0.0, RNG.exponential(0.1, rows)),
            "hour": RNG.integers(5, 23, rows),
            "carrier": RNG.choice(["AA", "B6", "UA"], rows, p=[0.2, 0.3, 0.5]),
            "holiday": RNG.random(rows) < 0.05,
        }
    )


def test_small_windows_of_the_same_data_do_not_alarm() -> None:
    frame = training()
    known = reference(frame, RNG.random(len(frame)))
    for rows in (10, 50, 300, 3000):
        found = [
            one for turn in range(60) for one in drift(known, profile(known, frame.sample(rows, seed=turn)))
        ]
        assert np.mean([one.excess > 0 for one in found]) < 0.01
        assert np.mean([one.psi for one in found]) < 1.3 * np.mean([one.expected for one in found])


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("temp", (pl.col("temp") - 32) / 1.8),  # another unit
        ("temp", pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise(pl.col("temp"))),
        ("rain", pl.col("rain") + 0.5),
        ("hour", pl.lit(12)),
        ("carrier", pl.lit("DL")),
        ("holiday", pl.lit(True)),
    ],
)
def test_what_changed_is_the_most_drifted(feature: str, change: Any) -> None:
    frame = training()
    known = reference(frame)
    found = drift(known, profile(known, frame.head(500).with_columns(change.alias(feature))))
    assert found[0].feature == feature
    assert found[0].excess > 0.25
    assert found[0].rows == 500
    assert all(one.excess < 0.05 for one in found[1:])


def test_bins_hold_what_training_saw_and_what_it_did_not() -> None:
    frame = pl.DataFrame({"few": [1, 1, 2, None], "text": ["a", "a", "b", None], "none": [None] * 4})
    known = reference(frame)
    assert known.features["few"].counts == [1, 0, 2, 1, 0]
    assert labels(known.features["few"]) == ["missing", "below 1", "1 to 2", "2", "above 2"]
    assert known.features["text"].counts == [1, 2, 1, 0]
    assert known.features["none"].counts == [4, 0]
    live = pl.DataFrame({"few": [0, 3, 3, 1], "text": ["c", None, "b", "b"], "none": [1.0, 2.0, None, None]})
    assert profile(known, live).counts == {"few": [0, 1, 1, 0, 2], "text": [1, 0, 2, 1], "none": [2, 2]}
    many = reference(pl.DataFrame({"x": np.linspace(0, 1, 1000), "id": [str(i) for i in range(1000)]}))
    assert len(many.features["x"].counts) == 23
    assert len(many.features["id"].counts) == 52


def test_dates_count_and_columns_of_one_side_are_left_out() -> None:
    frame = pl.DataFrame({"day": [date(2013, 1, 1)], "at": [datetime(2013, 1, 1, tzinfo=UTC)], "x": [1.0]})
    known = reference(frame, [0.5])
    seen = profile(known, frame.drop("x").with_columns(new=pl.lit(1)))
    assert sorted(seen.counts) == ["at", "day"]
    assert drift(known, profile(known, frame.clear())) == []


def test_what_has_no_bins_is_named() -> None:
    with pytest.raises(BadRequest, match="'tags' is a List"):
        reference(pl.DataFrame({"tags": [[1]]}))
    with pytest.raises(BadRequest, match="named 'score'"):
        reference(pl.DataFrame({"score": [1.0]}))


def test_a_feature_may_have_any_name_of_ours() -> None:
    texts, truths = ["a", "b", "a"], [True, False, True]
    usual = reference(pl.DataFrame({"plan": texts, "new": truths})).features
    ours = reference(pl.DataFrame({"count": texts, "value": truths})).features
    assert (ours["count"], ours["value"]) == (usual["plan"], usual["new"])
