"""How people are told."""

from __future__ import annotations

from typing import Protocol

from homeostat.domain.records import Alert


class Notifier(Protocol):
    """A channel for alerts. Telling twice must be harmless: delivery is at least once, by the alert's id."""

    def send(self, alert: Alert) -> None:
        """Tell of an alert that opened or was resolved.

        Raises:
            StoreUnavailable: the channel did not take it; it is tried again.
        """
