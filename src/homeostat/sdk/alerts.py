"""What is wrong, as a client asks about it: alerts, silences, channels, service levels."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from homeostat.domain.incidents import Incident
from homeostat.domain.records import Alert, Silence
from homeostat.sdk.calls import Calls

if TYPE_CHECKING:
    from homeostat.app.slos import Standing
    from homeostat.app.telling import AlertShown, ChannelStanding


class Alerts(Calls):
    """Calls about alerts and service levels."""

    def alerts(self, *, state: str = "", limit: int = 1000) -> list[Alert]:
        """Alerts, the newest first; ``state`` is ``open``, ``resolved``, or empty for both."""
        return self._get("/alerts", list[Alert], {"state": state, "limit": limit})

    def alert(self, id: str) -> AlertShown:
        """An alert by its id, or while it is open by its key, with whom it was sent to.

        Raises:
            NotFound: there is no such alert.
        """
        from homeostat.app.telling import AlertShown

        return self._get(f"/alerts/{_quoted(id, 'alert/')}", AlertShown)

    def incidents(self, model: str = "", *, limit: int = 100) -> list[Incident]:
        """What went wrong with deployments, or with that of one model: onset, detected, candidate, decided, healed."""
        return self._get("/incidents", list[Incident], {"model": model, "limit": limit})

    def acknowledge(self, id: str, *, reason: str = "", actor: str = "user") -> Alert:
        """Say that somebody looks after an alert: it escalates no further.

        Raises:
            NotFound: there is no such alert.
            Conflict: it is resolved, or somebody looks after it already.
        """
        body = {"reason": reason, "actor": actor}
        return self._post(f"/alerts/{_quoted(id, 'alert/')}/acknowledge", body, Alert)

    def silences(self, *, ended: bool = False) -> list[Silence]:
        """Silences and maintenance windows; with ``ended``, also those that are over."""
        return self._get("/silences", list[Silence], {"ended": "true" if ended else "false"})

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
        """Tell nobody of alerts whose subject and key match these patterns; from ``begins_at`` on, it is maintenance.

        Raises:
            BadRequest: it would end before it begins, or has no reason.
        """
        body = {"until": until, "reason": reason, "subject": subject, "key": key, "actor": actor}
        return self._post("/silences", body | ({"begins_at": begins_at} if begins_at else {}), Silence)

    def end_silence(self, id: str, *, actor: str = "user") -> Silence:
        """End a silence before its time.

        Raises:
            NotFound: there is no such silence.
            Conflict: it has ended.
        """
        return self._post(f"/silences/{_quoted(id, 'silence/')}/end", {"actor": actor}, Silence)

    def channels(self) -> list[ChannelStanding]:
        """Who is told of alerts, and what is still to be sent."""
        from homeostat.app.telling import ChannelStanding

        return self._get("/channels", list[ChannelStanding])

    def levels(self, model: str = "") -> list[Standing]:
        """Service levels and error budgets of every model that declares some, or of one.

        Raises:
            NotFound: there is no such model, or it declares none.
        """
        from homeostat.app.slos import Standing

        return self._get("/slo", list[Standing], {"model": model})


def _quoted(id: str, kind: str) -> str:
    return quote(id.removeprefix(kind), safe="")
