"""The short way of a single point into its run, for the thread that reads requests: it waits for nobody."""

from __future__ import annotations

from typing import Protocol


class Points(Protocol):
    """Adds points to the newest blocks of runs."""

    async def append(
        self, run: str, key: str, value: float | None, step: int, timestamp: int, *, row: bytes, room: int
    ) -> bool:
        """Log a point in one transaction: at the end of the run's newest block, and as the latest where it is that.

        Args:
            run: The run.
            key: The metric.
            value: Its value; None: NaN.
            step: Where on the run's axis it was measured.
            timestamp: Milliseconds since 1970.
            row: The point as blocks hold it, without the number of its key, which is put before it in two bytes,
                little-endian.
            room: With so many points a block is full.

        Returns:
            Whether it is logged. It is not, and may be logged in the long way, where that needs more than this: the run
            is not there or deleted, its newest block is full, merged or without the metric, another one writes, or the
            database fails.
        """

    def close(self) -> None:
        """Give back every connection."""
