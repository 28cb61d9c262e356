"""Another tool's profile is a reference: live rows are compared with it, whatever view their feature is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.app.reporting.foreign import foreign, named
from homeostat.engine.monitoring.drift import drift
from homeostat.engine.monitoring.reference import profile
from tests.adapters.sources.places import unpacked

NAMES = ("whylogs.bin", "tfdv.pb", "tfdv.pbtxt")


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_compared_with_what_another_tool_kept(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    known = foreign(unpacked("profiles", tmp_path) / name)
    assert known.rows == 5000
    rows = pl.DataFrame(
        {
            "shop__x": np.where(rng.random(2000) < 0.1, np.nan, rng.normal(0.5, 1, 2000)),
            "n": rng.poisson(3, 2000),
            "shop__c": [None] * 500 + rng.choice(["a", "b", "c"], 1500, p=[0.5, 0.3, 0.2]).tolist(),
        }
    )
    against = named(known, rows.columns)
    found = {one.feature: one for one in drift(against, profile(against, rows))}
    assert set(found) == {"shop__x", "n", "shop__c"}
    assert found["shop__x"].excess > 0.1
    assert found["n"].excess == found["shop__c"].excess == 0
