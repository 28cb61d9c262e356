"""The canary's observations, read from rows of the prediction log.

A row of arm ``canary`` with an ``error`` is one where the candidate failed: its score is then the
champion's, and a status of 500 or more says that the champion failed as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.engine.control.canary import Baseline, CanaryTest

Read = Callable[[pl.DataFrame, Literal["", "shadow_"]], npt.NDArray[Any]]

_FAILED = pl.col("error").is_not_null()
_UNANSWERED = pl.col("status") >= 500


def baseline(log: pl.DataFrame, *, p99: float | None = None) -> Baseline:
    """How the champion did, from rows of the log before the canary.

    Args:
        log: Columns ``arm``, ``status``, ``latency_us`` and, where the version's own time is known, ``scoring_us``.
        p99: The service level in seconds, where one is declared.
    """
    if p99 is not None:
        return Baseline(slow_after=p99)
    seconds = _seconds(log.filter(pl.col("arm") == "champion", ~_UNANSWERED))
    usual = float(np.quantile(seconds, 0.99)) if len(seconds) else None
    return Baseline(slow_after=2 * usual) if usual else Baseline()


def observe(test: CanaryTest, log: pl.DataFrame) -> int:
    """Show ``test`` new rows of the log during the canary, each once, in the order of the log.

    Args:
        log: Columns ``arm``, ``error``, ``status``, ``latency_us`` and, where it is known, ``scoring_us``.

    Returns:
        How many of the rows are of the candidate's arm.
    """
    asked = log.filter(pl.col("arm") == "canary")
    flags = asked.select(failed=_FAILED, champion=_FAILED & _UNANSWERED)
    test.observe(failed=flags["failed"].to_numpy(), champion_failed=flags["champion"].to_numpy())
    timed = log.filter(
        pl.when(pl.col("arm") == "canary")
        .then(~_FAILED)
        .otherwise((pl.col("arm") == "champion") & ~_UNANSWERED)
    )
    test.observe_seconds(_seconds(timed), (timed["arm"] == "canary").to_numpy())
    return len(asked)


def observe_labels(test: CanaryTest, labelled: pl.DataFrame, label: str, read: Read | None = None) -> int:
    """Show ``test`` rows of the log whose labels have come since the last look, in the order they came.

    Args:
        test: The test.
        labelled: Columns ``arm``, ``error``, ``score``, ``shadow_score`` and ``label``, and what ``read`` takes.
        label: The name of the label's column: boolean, or a number.
        read: Gives what was predicted in rows, and with ``shadow_`` what the champion would have; by default the
            scores.

    Returns:
        How many requests of the candidate's arm have a label now that had none.
    """
    asked = labelled.filter((pl.col("arm") == "canary") & pl.col(label).is_not_null())
    answered = asked.filter(~_FAILED & pl.col("score").is_not_null() & pl.col("shadow_score").is_not_null())
    read = read or _score
    test.observe_labels(
        answered[label].cast(pl.Float64).to_numpy(), read(answered, ""), read(answered, "shadow_")
    )
    return len(asked)


def _score(rows: pl.DataFrame, whose: str) -> npt.NDArray[Any]:
    return rows[f"{whose}score"].to_numpy()


def _seconds(rows: pl.DataFrame) -> npt.NDArray[Any]:
    """What the version itself took; where nobody measured that, from request to answer."""
    known = [name for name in ("scoring_us", "latency_us") if name in rows.columns]
    return rows.select(pl.coalesce(known)).to_series().to_numpy() / 1e6
