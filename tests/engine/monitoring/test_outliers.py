"""Rows that are unlike training come first, with the values that make them so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from homeostat.engine.monitoring.outliers import outliers
from homeostat.engine.monitoring.reference import Reference, reference


@pytest.fixture(scope="module")
def against() -> Reference:
    rng = np.random.default_rng(0)
    some = {"a": rng.normal(size=2000), "b": rng.exponential(size=2000), "c": rng.choice(["x", "y"], 2000)}
    return reference(pl.DataFrame(some))


def test_the_strangest_come_first_and_say_why(against: Reference) -> None:
    rng = np.random.default_rng(1)
    usual = pl.DataFrame({"a": rng.normal(size=200), "b": rng.exponential(size=200), "c": ["x", "y"] * 100})
    odd = pl.DataFrame({"a": [-40.0, 0.1, None], "b": [90.0, 0.7, 0.7], "c": ["x", "z", "y"]})
    found = outliers(against, pl.concat([usual, odd]), 3)
    assert found[0].row == 200
    assert {found[0].why[0].feature, found[0].why[1].feature} == {"a", "b"}
    assert (found[0].why[0].value, found[0].why[0].share) in [(-40.0, 1 / 2001), (90.0, 1 / 2001)]
    assert {one.row for one in found[1:]} == {201, 202}
    told = {one.row: one.why[0] for one in found}
    assert (told[201].feature, told[201].value) == ("c", "z")
    assert (told[202].feature, told[202].value) == ("a", None)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_nothing_known_is_nothing_odd(against: Reference) -> None:
    assert outliers(against, pl.DataFrame({"other": [1.0]}), 5) == []
    assert outliers(against, pl.DataFrame({"a": []}, schema={"a": pl.Float64()}), 5) == []
