"""Stand-ins for a model version and its package: scores by a rule that a test can compute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from homeostat.domain.contracts import Column
from homeostat.engine.serving.routing import LiveArm, Routes
from homeostat.engine.serving.scorer import Loaded, Scored

COLUMNS = (
    Column(name="id", type="string"),
    Column(name="carrier", type="string", choices=("AA", "UA")),
    Column(name="distance", type="float", ge=0, le=5000),
    Column(name="seats", type="integer", nullable=True, ge=1),
    Column(name="departs", type="datetime"),
    Column(name="code", type="string", nullable=True, pattern="^[A-Z]{3}$"),
    Column(name="late", type="boolean", nullable=True),
)
ROW: dict[str, Any] = {"id": "a", "carrier": "AA", "distance": 1000.0, "departs": "2013-07-01T12:00:00Z"}
NOON = datetime(2013, 7, 1, 12, tzinfo=UTC)


class FakeScorer:
    """``distance / 10000 + offset``. ``fails`` names ids that raise; ``error`` is what they raise.

    ``text`` makes a text of the feature.
    """

    def __init__(
        self,
        offset: float = 0.0,
        fails: Sequence[str] = (),
        error: Callable[[], Exception] = lambda: RuntimeError("poison"),
        seconds: float = 0.0,
        feature: str = "flight__distance",
        text: bool = False,
    ) -> None:
        self.offset, self.fails, self.error, self.seconds, self.feature = (
            offset,
            fails,
            error,
            seconds,
            feature,
        )
        self.text = text
        self.batches: list[int] = []

    def score(self, rows: Sequence[Any], times: Sequence[datetime]) -> Scored:
        self.batches.append(len(rows))
        time.sleep(self.seconds)
        if "*" in self.fails or any(row.id in self.fails for row in rows):
            raise self.error()
        return Scored(
            [row.distance / 10_000 + self.offset for row in rows],
            pl.DataFrame(
                {
                    self.feature: [str(row.distance) if self.text else row.distance for row in rows],
                    "weather__temp": [None] * len(rows),
                }
            ),
            {"weather": [moment - timedelta(minutes=30) for moment in times]},
            {"weather": [7] * len(rows)},
        )


def loaded(version: int, scorer: FakeScorer | None = None, **changes: Any) -> Loaded:
    """A version that takes ``COLUMNS``."""
    values: dict[str, Any] = {"columns": COLUMNS, "key": ("id",), "time": "departs", "example": ROW}
    return Loaded(version, scorer or FakeScorer(), **(values | changes))


def routes(champion: FakeScorer, canary: FakeScorer | None = None, share: float = 0.5) -> Routes:
    """Champion version 1 and, with a scorer, canary version 2."""
    arms = [LiveArm(1, "champion", 1 - share if canary else 1.0, champion)]
    if canary is not None:
        arms.append(LiveArm(2, "canary", share, canary))
    return Routes("flights", arms)


def body(**changes: Any) -> bytes:
    """A valid request with changes; a value of ``...`` leaves the column out."""
    return msgspec.json.encode({k: v for k, v in (ROW | changes).items() if v is not ...})
