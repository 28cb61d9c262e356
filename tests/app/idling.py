"""An executor that begins nothing: what waits for a process goes on waiting."""

from __future__ import annotations

from collections.abc import Sequence

from homeostat.ports.executor import JobState


class Idle:
    """See the port."""

    def submit(self, name: str, arguments: Sequence[str]) -> None:
        """Nothing is begun."""

    def states(self) -> dict[str, JobState]:
        """None runs."""
        return {}

    def cancel(self, name: str) -> None:
        """None runs."""

    def close(self) -> None:
        """None runs."""
