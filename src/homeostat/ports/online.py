"""The online store: the state of each entity, as serving needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class OnlineStore(Protocol):
    """Bytes by feature view and key. What it holds can be rebuilt from the tables at any time.

    Each method raises ``StoreUnavailable`` where the store does not answer.
    """

    def position(self, view: str) -> int:
        """The position given with the last write to ``view``; -1 when nothing is there or it was lost."""

    def write(self, view: str, entries: Mapping[bytes, bytes], position: int) -> None:
        """Set entries and position in one step: readers and a crash see all of it or none."""

    def read(self, keys: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """One multi-get of (view, key) pairs, in order; None for what is not there."""

    def clear(self, view: str) -> None:
        """Forget a view and its position."""

    def close(self) -> None:
        """Give back files and connections."""
