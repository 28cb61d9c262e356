"""Seasons: what time of the day or week a row belongs to, in UTC."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def seasons(times: pl.Series, of: Sequence[str]) -> pl.Series:
    """The season of each time, as texts such as ``"7"`` or, for several, ``"1.7"``.

    Args:
        times: When each row happened.
        of: ``hour`` (0 to 23), ``weekday`` (1, Monday, to 7) or both.
    """
    parts = {"hour": times.dt.hour(), "weekday": times.dt.weekday()}
    frame = pl.DataFrame([parts[one].cast(pl.String).alias(one) for one in of])
    return frame.select(pl.concat_str(list(of), separator=".").fill_null("").alias("season")).to_series()
