"""Slices that are worse are found, and none is named where none is."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_ind

from homeostat.engine.monitoring.slices import worst_slices


def table(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {f"x{n}": rng.normal(size=rows) for n in range(4)}
        | {"plan": rng.choice(["a", "b", "c"], rows), "new": rng.random(rows) < 0.3}
        | {"missing": [None] * rows, "at": np.arange(rows).astype("datetime64[us]")}
    )


def test_a_slice_of_one_feature_and_one_of_two_are_named() -> None:
    rng = np.random.default_rng(1)
    X = table(rng, 3000)
    loss = rng.exponential(size=3000)
    (first, *_) = worst_slices(X, loss + 1.0 * (X["plan"] == "b").to_numpy())
    assert first.where == "plan = b"
    assert first.loss > first.elsewhere + 0.8
    assert first.rows == (X["plan"] == "b").sum()
    both = ((X["plan"] == "b") & X["new"]).to_numpy()
    (first, *_) = worst_slices(X, loss + 1.5 * both)
    assert first.where == "plan = b and new = true"
    assert first.rows == both.sum()


def test_slices_are_named_with_what_a_test_of_them_says() -> None:
    rng = np.random.default_rng(6)
    X = table(rng, 3000).with_columns(plan=pl.Series(rng.choice(["a", "b", None], 3000).tolist()))
    new = X["new"].to_numpy()
    plans = {name: (X["plan"].fill_null("missing") == name).to_numpy() for name in ("a", "b", "missing")}
    loss = rng.exponential(size=3000) + 0.5 * plans["missing"] + 0.6 * (plans["a"] & new)
    parts = {f"plan = {name}": mask for name, mask in plans.items()}
    parts |= {
        f"plan = {name} and new = {told}": mask & (new == (told == "true"))
        for name, mask in plans.items()
        for told in ("true", "false")
    }
    found = [one for one in worst_slices(X, loss) if one.where in parts]
    assert {one.where for one in found} >= {"plan = missing", "plan = a and new = true"}
    for one in found:
        inside, outside = loss[parts[one.where]], loss[~parts[one.where]]
        test = ttest_ind(inside, outside, equal_var=False, alternative="greater")
        assert (one.rows, one.loss, one.elsewhere) == (
            len(inside),
            pytest.approx(inside.mean()),
            pytest.approx(outside.mean()),
        )
        spread = ((inside.var(ddof=1) + outside.var(ddof=1)) / 2) ** 0.5
        assert one.effect == pytest.approx((inside.mean() - outside.mean()) / spread)
        assert one.p_value == pytest.approx(test.pvalue, rel=1e-6)


def test_numbers_and_what_is_missing_are_slices() -> None:
    rng = np.random.default_rng(2)
    X = table(rng, 2000).with_columns(
        pl.when(pl.col("x0") > 0.5).then(None).otherwise(pl.col("x1")).alias("x1")
    )
    loss = rng.exponential(size=2000) + 2.0 * X["x1"].is_null().to_numpy()
    assert "x1 is missing" in [one.where for one in worst_slices(X, loss)]


def test_where_no_slice_is_worse_hardly_ever_one_is_named() -> None:
    rng = np.random.default_rng(3)
    assert sum(bool(worst_slices(table(rng, 600), rng.exponential(size=600))) for _ in range(40)) <= 3


def test_slices_that_are_too_small_do_not_count() -> None:
    rng = np.random.default_rng(4)
    X = table(rng, 400).with_columns(plan=pl.Series(["rare"] * 30 + ["usual"] * 370))
    loss = rng.exponential(size=400) + 5.0 * (X["plan"] == "rare").to_numpy()
    assert not any("rare" in one.where for one in worst_slices(X, loss))
    assert worst_slices(X.clear(), []) == []


def test_a_pair_is_told_by_its_part_whatever_texts_its_values_are() -> None:
    rng = np.random.default_rng(0)
    for city in ("Bonn", "Bonn and Ulm"):
        X = pl.DataFrame(
            {"count": rng.choice([city, "Rome", "Oslo"], 20_000), "plan": rng.choice(["a", "b"], 20_000)}
        )
        loss = rng.exponential(size=20_000) + 0.8 * (X["count"] == city).to_numpy()
        assert [one.where for one in worst_slices(X, loss)] == [f"count = {city}"]
