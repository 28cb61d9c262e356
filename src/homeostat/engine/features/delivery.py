"""Newly arrived rows as plain lists, each column turned once however many views read it.

A delivery is small, and an online store wants single values: for that, a query costs several times what a list does.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import polars as pl

from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Dataset
from homeostat.engine.features.times import ALWAYS, micros

_TIME: Final = pl.Datetime("us", "UTC")


class Delivery:
    """Rows of one dataset, with ``SEQ``.

    Args:
        source: The dataset, which says when a row may be seen.
        rows: The rows, columns as in its contract.
    """

    def __init__(self, source: Dataset, rows: pl.DataFrame) -> None:
        self.source = source
        self.rows = rows
        self._texts: dict[str, list[str | None]] = {}
        self._numbers: dict[str, list[float | None]] = {}

    def texts(self, column: str) -> list[str | None]:
        """A column as text, as keys are written."""
        if column not in self._texts:
            series = self.rows[column]
            self._texts[column] = (series if series.dtype == pl.String else series.cast(pl.String)).to_list()
        return self._texts[column]

    def numbers(self, column: str) -> list[float | None]:
        """A column as numbers."""
        if column not in self._numbers:
            series = self.rows[column]
            self._numbers[column] = (
                series if series.dtype == pl.Float64 else series.cast(pl.Float64)
            ).to_list()
        return self._numbers[column]

    @cached_property
    def times(self) -> list[int | None]:
        """Each row's event time in microseconds; ``ALWAYS`` where the dataset has none."""
        if self.source.time is None:
            return [ALWAYS] * self.rows.height
        times = self.rows[self.source.time]
        if times.dtype != _TIME:
            times = times.cast(_TIME)
        return times.cast(pl.Int64).to_list()

    @cached_property
    def seen(self) -> list[int | None]:
        """When each row may be seen: its time, moved up to the next delivery."""
        if self.source.cadence is None or self.source.time is None:
            return self.times
        every = micros(self.source.cadence)
        return [None if time is None else -(-time // every) * every for time in self.times]

    @cached_property
    def seqs(self) -> list[int]:
        """The seq of each row's batch."""
        return self.rows[SEQ].to_list()

    @cached_property
    def ties(self) -> list[str]:
        """Each row's key columns as one text: what decides between rows that agree in time and batch."""
        columns = [self.texts(key) for key in self.source.keys]
        return ["|".join(part for part in parts if part is not None) for parts in zip(*columns, strict=True)]
