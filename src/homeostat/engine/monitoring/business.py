"""What answers are worth, by the version that gave them: means with 95% intervals (``intervals.mean``), and totals."""

from __future__ import annotations

import msgspec
import polars as pl

from homeostat.engine.monitoring.intervals import mean


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one version's answers.

    Args:
        version: Which.
        arm: How it was asked: ``champion``, ``canary``, or as an arm of an A/B test.
        requests: How many it answered.
        valued: How many of them a value came for.
        total: The sum of what came.
        mean: Of a request that counts; None where none does.
        low: Of its 95% interval; None below two requests.
        high: Likewise.
    """

    version: int
    arm: str
    requests: int
    valued: int
    total: float
    mean: float | None
    low: float | None
    high: float | None


def worth(rows: pl.DataFrame, empty: float | None) -> list[Worth]:
    """By version and arm, those with the most requests first.

    Args:
        rows: Answered requests with ``version``, ``arm`` and ``value``, null where none came.
        empty: What null counts as; None: it does not count.
    """
    out = []
    for (version, arm), own in rows.group_by("version", "arm"):
        came = own["value"].drop_nulls()
        values = (came if empty is None else own["value"].fill_null(empty)).to_numpy()
        interval = mean(values) if len(values) > 1 else None
        out.append(
            Worth(
                version=int(str(version)),
                arm=str(arm),
                requests=own.height,
                valued=came.len(),
                total=float(came.sum()),
                mean=float(values.mean()) if len(values) else None,
                low=interval.low if interval else None,
                high=interval.high if interval else None,
            )
        )
    return sorted(out, key=lambda one: (-one.requests, one.version, one.arm))
