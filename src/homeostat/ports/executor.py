"""Where jobs run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

JobState = Literal["running", "succeeded", "failed"]


class Executor(Protocol):
    """Runs jobs apart from the caller. A job is the ``homeostat`` job entry point with arguments."""

    def submit(self, name: str, arguments: Sequence[str]) -> None:
        """Start a job under a name that no running job has."""

    def states(self) -> dict[str, JobState]:
        """Every job of this executor and how it stands; ended ones are told once."""

    def cancel(self, name: str) -> None:
        """Stop a job and what it started; stopping none is no error."""

    def close(self) -> None:
        """Stop every job."""
