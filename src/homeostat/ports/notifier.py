"""How people are told."""

from __future__ import annotations

from typing import Protocol

from homeostat.domain.notices import Notice
from homeostat.domain.records import Alert


class Notifier(Protocol):
    """A channel for alerts. Telling twice must be harmless: delivery is at least once, by the alert's id."""

    def send(self, alert: Alert) -> None:
        """Tell of an alert that changed.

        Raises:
            StoreUnavailable: the channel did not take it; it is tried again.
        """


class Sender(Protocol):
    """A way out of here. What is sent twice has the same id: delivery is at least once."""

    def send(self, notice: Notice) -> None:
        """Send a notice.

        Raises:
            StoreUnavailable: nobody took it; it is tried again.
        """
