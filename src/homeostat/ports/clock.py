"""The one source of time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Only ``now`` may be simulated: what the world's time is, for data, labels and rules."""

    def now(self) -> datetime:
        """The world's time, aware, UTC."""

    def wall(self) -> datetime:
        """The machine's time, aware, UTC: for heartbeats, which other processes compare with theirs."""

    def monotonic(self) -> float:
        """Seconds from some origin, never going back: for durations and timeouts."""

    def sleep(self, seconds: float) -> None:
        """Wait, in real time."""
