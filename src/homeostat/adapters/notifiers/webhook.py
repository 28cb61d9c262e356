"""Notices as signed CloudEvents over HTTP: CloudEvents 1.0 in structured mode, signed by Standard Webhooks.

The signature is an HMAC-SHA256 of ``id.timestamp.body`` in the header ``webhook-signature`` (Standard Webhooks
specification, https://www.standardwebhooks.com). The event's id and the header ``webhook-id`` are the notice's, which
stays the same when it is sent again: a receiver that has seen it passes over it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from typing import Final

import msgspec

from homeostat.domain.errors import HomeostatError, NotInstalled, StoreUnavailable
from homeostat.domain.notices import Notice

TYPE: Final = "homeostat.alerts"
SOURCE: Final = "/homeostat/alerts"
_PREFIX: Final = "whsec_"
_SECONDS: Final = 10.0


class Webhook:
    """Posts to one address.

    Args:
        url: Where to.
        secret: What messages are signed with, as ``whsec_`` and base64.
        wall: Real time; a signature holds its own, so that a receiver can refuse what is old.

    Raises:
        NotInstalled: the extra ``alerts`` is not there.
        HomeostatError: the secret is none.
    """

    def __init__(self, url: str, secret: str, wall: Callable[[], datetime]) -> None:
        if find_spec("cloudevents") is None:
            raise NotInstalled("cloudevents is not installed", remedy="Run pip install 'homeostat[alerts]'")
        self._url, self._wall = url, wall
        try:
            self._key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error as error:
            raise HomeostatError(
                "the secret of a webhook is no base64", remedy="Write whsec_ and base64"
            ) from error
        if not self._key:
            raise HomeostatError("the secret of a webhook is empty", remedy="Write whsec_ and base64")

    def send(self, notice: Notice) -> None:
        """Post it.

        Raises:
            StoreUnavailable: nobody took it: no connection, or an answer other than 2xx.
        """
        import httpx

        headers, body = self.signed(notice)
        try:
            answer = httpx.post(self._url, content=body, headers=headers, timeout=_SECONDS)
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"no answer: {type(error).__name__}") from error
        if not answer.is_success:  # its words may repeat the address, which is secret
            raise StoreUnavailable(f"it answered {answer.status_code}")

    def signed(self, notice: Notice) -> tuple[dict[str, str], bytes]:
        """The headers and the body of a notice, signed now."""
        from cloudevents.core.bindings.http import to_structured_event
        from cloudevents.core.v1.event import CloudEvent

        attributes = {
            "id": notice.id,
            "type": TYPE,
            "source": SOURCE,
            "subject": notice.group,
            "time": notice.at,
            "datacontenttype": "application/json",
        }
        message = to_structured_event(CloudEvent(attributes, msgspec.to_builtins(notice)))
        at = int(self._wall().timestamp())
        content = f"{notice.id}.{at}.".encode() + message.body
        digest = base64.b64encode(hmac.new(self._key, content, hashlib.sha256).digest()).decode()
        signature = {
            "webhook-id": notice.id,
            "webhook-timestamp": str(at),
            "webhook-signature": f"v1,{digest}",
        }
        return message.headers | signature, message.body
