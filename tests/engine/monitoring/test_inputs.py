"""Live data that are otherwise than in training are told of, and others are not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from homeostat.engine.monitoring.inputs import LEAST_ROWS, age, findings
from homeostat.engine.monitoring.reference import Reference, reference


def table(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "size": rng.normal(size=rows),
            "count": np.where(rng.random(rows) < 0.1, np.nan, rng.poisson(2, rows).astype(float)),
            "plan": rng.choice(["a", "b"], rows),
        }
    )


@pytest.fixture(scope="module")
def against() -> Reference:
    return reference(table(np.random.default_rng(0), 4000))


def test_data_as_in_training_have_nothing_to_tell(against: Reference) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert findings(against, table(rng, 400)) == []


@pytest.mark.parametrize(
    ("change", "feature", "what", "share"),
    [
        (
            pl.when(pl.col("size") > 1).then(None).otherwise(pl.col("size")).alias("size"),
            "size",
            "missing",
            0.16,
        ),
        ((pl.col("size") - 10).alias("size"), "size", "below", 1.0),
        ((pl.col("size") * 5).alias("size"), "size", "above", 0.25),
        (pl.lit("c").alias("plan"), "plan", "new values", 1.0),
        (pl.lit("a").alias("plan"), "plan", "stuck", 1.0),
        (pl.lit(0.25).alias("size"), "size", "stuck", 1.0),
        (
            pl.when(pl.col("size") > 0).then(np.inf).otherwise(pl.col("size")).alias("size"),
            "size",
            "not finite",
            0.5,
        ),
        (pl.col("size").cast(pl.String), "size", "type", 1.0),
    ],
)
def test_what_is_otherwise_is_named(
    against: Reference, change: pl.Expr, feature: str, what: str, share: float
) -> None:
    X = table(np.random.default_rng(2), 1000).with_columns(change)
    found = {(one.feature, one.what): one for one in findings(against, X)}
    assert (feature, what) in found
    assert found[feature, what].share == pytest.approx(share, abs=0.05)
    assert {name for name, _ in found} == {feature}


def test_a_feature_that_is_not_logged_is_absent(against: Reference) -> None:
    (one,) = findings(against, table(np.random.default_rng(3), 200).drop("size"))
    assert (one.feature, one.what) == ("size", "absent")
    assert findings(against, table(np.random.default_rng(3), LEAST_ROWS - 1).drop("size")) == []


def test_ages() -> None:
    found = age(pl.Series([1.0, 2.0, 3.0, None]))
    assert (found.p50, found.p99, found.nothing) == (2.0, 3.0, 0.25)
    assert age(pl.Series([], dtype=pl.Float64)).p50 is None
