"""Views of equal digests compute the same: what decides about a feature is part of its view's digest."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl
import pytest

import homeostat as hs


def views(scale: Any = 1, **source: Any) -> dict[str, str]:
    """The digests of a view of each kind, of a source that is declared a little differently."""
    weather = hs.Dataset("weather", **{"key": "station", "time": "at", "every": "1h"} | source)
    station = hs.Entity("station")

    def scaled(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.select(temp=pl.col("temp") * scale)

    def again(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.select(twice=latest.transform(frame).collect()["temp"] * 2)

    latest = hs.feature_view(entity=station, source=weather)(scaled)
    window = hs.windows("warm", entity=station, source=weather, mean="temp", over=["1d"], tile="1h")
    asked = hs.on_request(scaled)
    above = hs.on_request(again)
    return {"latest": latest.digest, "window": window.digest, "asked": asked.digest, "above": above.digest}


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, set()),
        ({"every": "1d"}, {"latest", "window"}),
        ({"every": None}, {"latest", "window"}),
        ({"time": "seen_at"}, {"latest", "window"}),
        ({"key": ("station", "at")}, {"latest", "window"}),
        ({"path": "weather.csv"}, set()),
        ({"scale": 2}, {"latest", "asked", "above"}),
        ({"scale": pl.lit(2)}, {"latest", "asked", "above"}),
        ({"scale": threading.Lock()}, {"latest", "asked", "above"}),
    ],
)
def test_what_decides_about_features_is_part_of_the_digest(given: dict[str, Any], changed: set[str]) -> None:
    before, after = views(), views(**given)
    assert {name for name in before if before[name] != after[name]} == changed
