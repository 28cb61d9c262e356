"""How lineage is told to others."""

from __future__ import annotations

from typing import Any, Protocol


class LineageSink(Protocol):
    """Takes OpenLineage events. Sending one twice is harmless: receivers merge what they know of a run."""

    def emit(self, event: Any) -> None:
        """Send an event of OpenLineage's own classes.

        Raises:
            StoreUnavailable: nobody took it; it is tried again.
        """
