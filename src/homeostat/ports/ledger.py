"""The ledger: every change of state as an event, chained by hash. Appending is part of a Transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from homeostat.domain.events import Edge, Event, Head, Verdict


class Ledger(Protocol):
    """Reading the committed prefix of the ledger. ``seq`` has no gaps and follows the order of commits."""

    def head(self) -> Head:
        """The end of the chain."""

    def read(self, after: int = 0, *, limit: int = 1000) -> list[Event]:
        """Events with ``seq`` > ``after``, in order: nothing with a smaller seq can appear later."""

    def find(
        self,
        *,
        subject: str | None = None,
        kinds: Sequence[str] = (),
        until: datetime | None = None,
        limit: int = 100,
        newest: bool = True,
    ) -> list[Event]:
        """Events about ``subject`` (the reference itself, or any version of it), of ``kinds``, not after ``until``.

        What is not given or empty stands for all.
        """

    def edges(self, ref: str, direction: Literal["up", "down"]) -> list[Edge]:
        """Edges into ``ref`` (up: what it came from) or out of it (down: what came of it)."""

    def verify(self) -> Verdict:
        """Walk the whole chain; names the first event that was edited, removed or reordered."""
