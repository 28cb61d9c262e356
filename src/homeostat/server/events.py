"""Calls that bring messages: CloudEvents 1.0 over HTTP, one in binary or structured mode, or a batch in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.messages import Incoming, Received, receive
from homeostat.domain.errors import BadRequest, NotInstalled
from homeostat.server.calls import Call

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_LONGEST: Final = 1024


def take(container: Container, call: Call) -> Received:
    """Keep the CloudEvents of a request, all or none; those that came before are passed over.

    Raises:
        BadRequest: they are none.
        NotInstalled: the extra ``alerts``, which holds their library, is not there.
    """
    if call.content_type != BATCH:
        return receive(container, [_parsed(dict(call.headers), call.body)])
    try:
        parts = msgspec.json.decode(call.body, type=list[msgspec.Raw])
    except msgspec.DecodeError as error:
        raise BadRequest(
            f"the batch is no JSON array: {error}", remedy="Send an array of CloudEvents"
        ) from error
    return receive(container, [_parsed({"content-type": STRUCTURED}, bytes(one)) for one in parts])


def _parsed(headers: dict[str, str], body: bytes) -> Incoming:
    try:
        from cloudevents.core.bindings.http import HTTPMessage, from_http_event
        from cloudevents.core.exceptions import BaseCloudEventException
    except ImportError as error:
        raise NotInstalled(
            "messages need cloudevents, which is not installed", remedy="Run: pip install 'homeostat[alerts]'"
        ) from error
    try:
        event = from_http_event(HTTPMessage(headers, body))
    except (
        BaseCloudEventException,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise BadRequest(
            f"the request is no CloudEvent: {_said(error)}",
            remedy=f"Send {STRUCTURED}, or its attributes as headers: ce-id, ce-source, ce-type, ce-specversion",
        ) from error
    return _incoming(event)


def _incoming(event: BaseCloudEvent) -> Incoming:
    found = {
        "id": event.get_id(),
        "source": event.get_source(),
        "type": event.get_type(),
        "subject": event.get_subject() or "",
    }
    for name, value in found.items():
        if len(value) > _LONGEST or "\0" in value:
            raise BadRequest(f"its {name} is no text of up to {_LONGEST} characters", field=name)
    return Incoming(**found, data=_bytes(event.get_data()))


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    return b"" if data is None else msgspec.json.encode(data, order="deterministic")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
