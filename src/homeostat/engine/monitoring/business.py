"""What answers are worth, by the version that gave them: means with the 95% interval of their error, and totals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.engine.monitoring.intervals import Z


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


def worth(parts: Iterable[pl.DataFrame], empty: float | None) -> list[Worth]:
    """By version and arm, those with the most requests first.

    Args:
        parts: Answered requests with ``version``, ``arm`` and ``value``, null where none came; each in one part.
        empty: What null counts as; None: it does not count.
    """
    found: dict[tuple[Any, ...], _Sums] = {}
    for rows in parts:
        for of, own in rows.group_by("version", "arm"):
            came = own["value"].drop_nulls()
            values = (came if empty is None else own["value"].fill_null(empty)).to_numpy()
            sums = _Sums(own.height, came.len(), float(came.sum()), *_moments(values))
            found[of] = found[of].with_(sums) if of in found else sums
    out = []
    for (version, arm), one in found.items():
        error = Z * (one.squares / (one.counted - 1) / one.counted) ** 0.5 if one.counted > 1 else None
        out.append(
            Worth(
                version=int(version),
                arm=str(arm),
                requests=one.requests,
                valued=one.valued,
                total=one.total,
                mean=one.mean if one.counted else None,
                low=None if error is None else one.mean - error,
                high=None if error is None else one.mean + error,
            )
        )
    return sorted(out, key=lambda one: (-one.requests, one.version, one.arm))


class _Sums(NamedTuple):
    """Of the values that count: how many, their mean, and the sum of the squares of their distances from it."""

    requests: int
    valued: int
    total: float
    counted: int
    mean: float
    squares: float

    def with_(self, other: _Sums) -> _Sums:
        """Both together (Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm", COMPSTAT 1982)."""
        count = self.counted + other.counted
        apart = other.mean - self.mean
        share = other.counted / count if count else 0.0
        return _Sums(
            self.requests + other.requests,
            self.valued + other.valued,
            self.total + other.total,
            count,
            self.mean + apart * share,
            self.squares + other.squares + apart**2 * self.counted * share,
        )


def _moments(values: npt.NDArray[np.float64]) -> tuple[int, float, float]:
    middle = float(values.mean()) if len(values) else 0.0
    return len(values), middle, float(((values - middle) ** 2).sum())
