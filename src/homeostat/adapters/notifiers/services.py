"""Notices by any service that Apprise knows: chats, mail, paging."""

from __future__ import annotations

from typing import Any

from homeostat.domain.errors import HomeostatError, NotInstalled, StoreUnavailable
from homeostat.domain.notices import Notice


class AppriseService:
    """Sends to one address of Apprise, as ``slack://…`` or ``mailto://…``.

    Raises:
        NotInstalled: the extra ``alerts`` is not there.
        HomeostatError: Apprise knows no such address.
    """

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ModuleNotFoundError as error:
            raise NotInstalled(
                "apprise is not installed", remedy="Run pip install 'homeostat[alerts]'"
            ) from error
        self._apprise: Any = apprise.Apprise()
        self._kinds: Any = apprise.NotifyType
        if not self._apprise.add(url):
            scheme = url.partition("://")[0]
            raise HomeostatError(
                f"apprise knows no address of this form: {scheme}://…",
                remedy="See apprise's list of services",
            )

    def send(self, notice: Notice) -> None:
        """Send it.

        Raises:
            StoreUnavailable: the service did not take it.
        """
        over = all(one.transition == "resolved" for one in notice.told)
        kind = self._kinds.SUCCESS if over else self._kinds.WARNING
        if notice.severity == "page" and not over:
            kind = self._kinds.FAILURE
        if not self._apprise.notify(title=notice.title, body=notice.text, notify_type=kind):
            raise StoreUnavailable("apprise could not deliver it")
