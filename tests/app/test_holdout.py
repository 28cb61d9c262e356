"""Rows held out of a training stay held out as others come, so that no champion is judged on what it has seen."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

import homeostat as hs
from homeostat.app.trainingdata import _held

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def held(rows: int) -> set[int]:
    source = hs.Dataset("customers", key="id")
    model = hs.Model("churn", task=hs.Binary(label="churned", source=source), train=lambda data: None)
    frame = pl.DataFrame({"id": range(rows)})
    return set(frame.filter(_held(model, frame, NOW))["id"])


def test_without_times_a_share_of_the_rows_is_held_out() -> None:
    assert len(held(1_000)) == 200
    assert held(1_000) == held(1_000)


def test_rows_held_out_before_are_held_out_again() -> None:
    before, after = held(1_000), held(1_300)
    assert len(after) == 260
    assert len({row for row in after if row < 1_000} - before) <= 20  # a share of a sample is never exact
