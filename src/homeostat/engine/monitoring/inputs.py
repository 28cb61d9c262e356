"""The quality of live data against that of training, value by value: what drift tests do not tell apart.

A share of rows is told of where it is more than in training beyond what chance explains, the 95% intervals of both
apart (``intervals.rate``), and by a hundredth at least: fewer rows than that are no state of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
import numpy as np
import polars as pl

from homeostat.engine.monitoring.intervals import rate
from homeostat.engine.monitoring.reference import Bins, Categories, Reference, profile

FLOOR: Final = 0.01
_SURE: Final = 4.0  # standard deviations: what is surely so is wrong of one share in 30,000
LEAST_ROWS: Final = 100
_ANSWERS: Final = ("score", "label")

Kind = Literal["absent", "type", "missing", "below", "above", "new values", "not finite", "stuck"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a feature that was otherwise in training.

    Args:
        feature: Its name.
        what: ``absent`` from the log; of another ``type``; ``missing`` (null), ``below`` or ``above`` all of training,
            ``new values`` that training hardly had, ``not finite``, or ``stuck`` at one value.
        share: The share of live rows that it holds for.
        usual: The share of training rows.
        rows: Live rows.
        surely: By how much the share is surely larger than in training: whatever chance explains is taken off.
    """

    feature: str
    what: Kind
    share: float
    usual: float
    rows: int
    surely: float = 1.0


class Age(msgspec.Struct, frozen=True):
    """How old what stood behind a view's features was when it was asked for: seconds, and the share with nothing."""

    p50: float | None
    p99: float | None
    nothing: float


class Skew(msgspec.Struct, frozen=True):
    """Logged features beside the same computed anew, point in time, for a sample of predictions.

    Args:
        sampled: Predictions that were compared.
        differing: How many of them have a feature that is another now.
        features: By feature, in how many.
        untold: How many could not be computed again.
    """

    sampled: int
    differing: int
    features: dict[str, int]
    untold: int = 0


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """Live data over a time.

    Args:
        rows: Requests.
        before: Requests in as long a time before.
        repeated: The share of requests that ask the same as an earlier one: key, time and features.
        ages: By feature view, how fresh its features were.
        findings: What is otherwise than in training.
        skew: Between training and serving; None where no feature is stored.
    """

    rows: int
    before: int
    repeated: float
    ages: dict[str, Age]
    findings: list[Finding]
    skew: Skew | None = None


def findings(against: Reference, X: pl.DataFrame) -> list[Finding]:
    """What is otherwise in ``X`` than in training, the largest share first; nothing below ``LEAST_ROWS`` rows.

    Args:
        against: The training data.
        X: Live features, one row a request.
    """
    if X.height < LEAST_ROWS:
        return []
    out: list[Finding] = []
    known = {name: bins for name, bins in against.features.items() if name not in _ANSWERS}
    fitting: list[str] = []
    for name, bins in known.items():
        if name not in X.columns:
            out.append(Finding(feature=name, what="absent", share=1.0, usual=0.0, rows=X.height))
        elif not _fits(bins, X.schema[name]):
            out.append(Finding(feature=name, what="type", share=1.0, usual=0.0, rows=X.height))
        else:
            fitting.append(name)
    counts = profile(against, X.select(fitting), summed_up=False).counts
    for name in fitting:
        out += _shares(name, known[name], np.array(counts[name]))
        out += _values(name, known[name], X[name])
    return sorted(out, key=lambda one: (-one.share, one.feature, one.what))


def age(seconds: pl.Series) -> Age:
    """Of the seconds between what stood behind a view's features and the request; null where nothing did."""
    known = seconds.drop_nulls()
    nothing = 1 - known.len() / seconds.len() if seconds.len() else 0.0
    p50, p99 = (known.quantile(q, "nearest") for q in (0.5, 0.99))
    return Age(p50, p99, nothing)


def _fits(bins: Bins, dtype: Any) -> bool:
    text = isinstance(dtype, pl.String | pl.Boolean | pl.Categorical | pl.Enum)
    return dtype == pl.Null or text == isinstance(bins, Categories)


def _shares(name: str, bins: Bins, live: Any) -> Iterator[Finding]:
    """Bins that hold more than they did: missing, and what lies outside of what training saw."""
    before = np.array(bins.counts)
    places: dict[Kind, int] = {"missing": 0}
    if isinstance(bins, Categories):
        places["new values"] = len(before) - 1
    elif bins.edges:
        places |= {"below": 1, "above": len(before) - 1}
    total, usual = int(live.sum()), int(before.sum())
    for what, place in places.items():
        now, then = rate(int(live[place]), total), rate(int(before[place]), usual)
        if now is not None and then is not None and now.low > then.high and now.value > then.value + FLOOR:
            sure, most = rate(int(live[place]), total, _SURE), rate(int(before[place]), usual, _SURE)
            assert sure is not None  # as ``now`` is
            assert most is not None
            yield Finding(
                feature=name,
                what=what,
                share=now.value,
                usual=then.value,
                rows=total,
                surely=max(sure.low - most.high, 0.0),
            )


def _values(name: str, bins: Bins, column: pl.Series) -> Iterator[Finding]:
    rows = column.len()
    if column.dtype.is_float() and (infinite := int(column.is_infinite().sum())):
        yield Finding(feature=name, what="not finite", share=infinite / rows, usual=0.0, rows=rows)
    there = column.drop_nulls()
    several = sum(count > 0 for count in bins.counts[1:]) > 1
    if several and there.len() >= LEAST_ROWS and there.n_unique() == 1:
        usual = max(bins.counts[1:]) / max(sum(bins.counts), 1)
        # A value that nearly all training rows have may well be alone for a while.
        if usual < 1 - 3 / there.len():
            yield Finding(feature=name, what="stuck", share=there.len() / rows, usual=usual, rows=rows)
