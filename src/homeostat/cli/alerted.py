"""The calls of ``sdk.alerts`` done on the store by this process."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.app.slos import Standing
    from homeostat.app.telling import AlertShown, ChannelStanding
    from homeostat.domain.incidents import Incident
    from homeostat.domain.records import Alert, Silence


class DirectAlerts:
    """Alerts, silences, channels, service levels."""

    _container: Container

    def alerts(self, *, state: str = "", limit: int = 1000) -> list[Alert]:
        """Alerts, the newest first."""
        from homeostat.app.alerts import alerts

        return alerts(self._container, state=state, limit=limit)

    def alert(self, id: str) -> AlertShown:
        """An alert, with whom it was sent to."""
        from homeostat.app.telling import shown

        return shown(self._container, id)

    def incidents(self, model: str = "", *, limit: int = 100) -> list[Incident]:
        """What went wrong with deployments."""
        from homeostat.app.incidents import incidents

        return incidents(self._container, model, limit=limit)

    def acknowledge(self, id: str, *, reason: str = "", actor: str = "user") -> Alert:
        """Say that somebody looks after an alert."""
        from homeostat.app.alerts import acknowledge

        return acknowledge(self._container, id, actor=actor, reason=reason)

    def silences(self, *, ended: bool = False) -> list[Silence]:
        """Silences and maintenance windows."""
        from homeostat.app.silencing import silences

        return silences(self._container, ended=ended)

    def silence(
        self,
        *,
        until: datetime,
        reason: str,
        subject: str = "*",
        key: str = "*",
        begins_at: datetime | None = None,
        actor: str = "user",
    ) -> Silence:
        """Tell nobody of some alerts for a time."""
        from homeostat.app.silencing import silence

        return silence(
            self._container,
            until=until,
            reason=reason,
            subject=subject,
            key=key,
            begins_at=begins_at,
            actor=actor,
        )

    def end_silence(self, id: str, *, actor: str = "user") -> Silence:
        """End a silence before its time."""
        from homeostat.app.silencing import end_silence

        return end_silence(self._container, id, actor=actor)

    def channels(self) -> list[ChannelStanding]:
        """Who is told of alerts."""
        from homeostat.app.telling import channels

        return channels(self._container)

    def levels(self, model: str = "") -> list[Standing]:
        """Service levels and error budgets."""
        from homeostat.app.slos import standings

        return standings(self._container, model)
