"""The year on one clock: what is delivered in each hour, and who asks in it.

At hour H the rows of (H - 1 h, H] have just been delivered, and the flights that are scheduled to leave in
[H, H + 1 h) ask whether they will be late. The cancelled ask too: nobody knows yet. What comes in the hours of the
night in which nobody asks is delivered with the first hour in which somebody does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import numpy as np
import polars as pl

from examples.flights import data

HOUR: Final = timedelta(hours=1)
FIRST: Final = datetime(2013, 4, 1, 4, tzinfo=UTC)
"""Midnight in New York, where the first model begins to serve."""
NEW_YEAR: Final = datetime(2014, 1, 1, 5, tzinfo=UTC)
MONTHS: Final = (datetime(2013, 2, 1, 5, tzinfo=UTC), datetime(2013, 3, 1, 5, tzinfo=UTC), FIRST)
"""Ends of January, February and March in New York."""
TIMES: Final = {"flights": "sched_dep", "landings": "landed_at", "weather": "observed_at"}


@dataclass(frozen=True)
class Delivery:
    """Rows of one dataset that came in one hour, with the sender's name for them."""

    dataset: str
    rows: pl.DataFrame
    token: str


class Year:
    """The flights, landings and weather of 2013, by the hour.

    Args:
        tables: The three tables by dataset; sorted by their time column.
    """

    def __init__(self, tables: dict[str, pl.DataFrame] | None = None) -> None:
        self.tables = tables or {
            "flights": data.flights(),
            "landings": data.landings(),
            "weather": data.weather(),
        }
        self._times = {
            name: self.tables[name][column].dt.epoch("us").to_numpy() for name, column in TIMES.items()
        }

    def before(self, name: str, start: datetime | None, end: datetime) -> pl.DataFrame:
        """The rows of a dataset in (start, end], the planes aside."""
        low = self._place(name, start, "right") if start else 0
        return self.tables[name].slice(low, self._place(name, end, "right") - low)

    def month(self, end: datetime) -> Iterator[Delivery]:
        """What came in one of the ``MONTHS`` before the replay, by its end."""
        place = MONTHS.index(end)
        for name in TIMES:
            rows = self.before(name, MONTHS[place - 1] if place else None, end)
            yield Delivery(name, rows, f"{name}-until-{end:%Y-%m-%d}")

    def delivered(self, since: datetime, hour: datetime) -> Iterator[Delivery]:
        """What came after ``since`` and until now; nothing for a dataset without rows."""
        for name in TIMES:
            rows = self.before(name, since, hour)
            if rows.height:
                yield Delivery(name, rows, f"{name}-{hour:%Y-%m-%dT%H}")

    def leaving(self, hour: datetime) -> pl.DataFrame:
        """The flights that are scheduled to leave in the hour that begins now."""
        low = self._place("flights", hour, "left")
        return self.tables["flights"].slice(low, self._place("flights", hour + HOUR, "left") - low)

    def last_landing(self, until: datetime) -> datetime:
        """The hour in which the last flight that leaves before ``until`` is known to have landed."""
        asked = self.tables["flights"].filter(pl.col("sched_dep") < until)
        landed = self.tables["landings"].join(asked, on="flight", how="semi")["landed_at"].max()
        if not isinstance(landed, datetime):
            return until
        whole = landed.replace(minute=0, second=0, microsecond=0)
        return max(until, whole if whole == landed else whole + HOUR)

    def _place(self, name: str, at: datetime, side: str) -> int:
        micros = int(at.timestamp()) * 1_000_000
        return int(np.searchsorted(self._times[name], micros, side=side))  # type: ignore[call-overload] # a literal


def bodies(flights: pl.DataFrame) -> list[bytes]:
    """Each flight as the JSON object of a request."""
    return [msgspec.json.encode(row) for row in flights.iter_rows(named=True)]


def hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """Every hour from ``start`` to ``end``, both included."""
    hour = start
    while hour <= end:
        yield hour
        hour += HOUR
