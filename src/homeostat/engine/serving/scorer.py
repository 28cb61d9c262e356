"""What serving asks of a model version, and how a batch that fails is narrowed down to the rows at fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from homeostat.domain.contracts import Column
from homeostat.domain.errors import HomeostatError, StoreUnavailable

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Scored:
    """The scores of a batch and what they were computed from, one entry a row.

    Args:
        scores: The probability of the positive class.
        X: The features, one row a request.
        as_of: By view, when the newest row behind each request's features became visible.
        positions: By view, the seq of the newest batch behind each request's features.
    """

    scores: list[float]
    X: pl.DataFrame
    as_of: dict[str, list[datetime | None]] = field(default_factory=dict)
    positions: dict[str, list[int | None]] = field(default_factory=dict)


class Scorer(Protocol):
    """A loaded model version. Safe for threads: two deployments may share it."""

    def score(self, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> Scored:
        """Features and scores of requests at ``times`` (UTC). May raise anything."""


@dataclass(frozen=True)
class Loaded:
    """A model version ready to serve: its scorer, what a request must hold, and a request to warm it with."""

    version: int
    scorer: Scorer
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time: str | None = None
    example: dict[str, Any] = field(default_factory=dict)


Outcome = tuple[Scored, int] | Exception
"""Where a row's score stands in which batch, or why it has none."""


def attempt(scorer: Scorer, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> list[Outcome]:
    """Score every row that can be scored.

    A batch that fails is halved until the rows at fault stand alone: k of them in n rows cost about 2 k log2
    n more calls. A store that does not answer is no row's fault and is not asked again.
    """
    try:
        scored = scorer.score(rows, times)
        _check(scored, len(rows))
    except StoreUnavailable as error:
        return [error] * len(rows)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; its rows carry the error on
        if len(rows) == 1:
            return [error]
        half = len(rows) // 2
        return attempt(scorer, rows[:half], times[:half]) + attempt(scorer, rows[half:], times[half:])
    return [(scored, index) for index in range(len(rows))]


def _check(scored: Scored, rows: int) -> None:
    if len(scored.scores) != rows:
        raise HomeostatError(f"the model gave {len(scored.scores)} scores for {rows} rows")
    for score in scored.scores:
        if not isfinite(score):
            raise HomeostatError(f"the model gave the score {score}")
