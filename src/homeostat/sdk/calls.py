"""What every part of the client asks with: calls that send and read JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from homeostat.sdk.transport import Transport

T = TypeVar("T")


class Calls:
    """Calls over one transport."""

    _transport: Transport

    def _get(self, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> T:
        return msgspec.json.decode(
            self._transport.send("GET", path, params=query or {}, repeatable=True), type=kind
        )

    def _post(self, path: str, body: Any, kind: type[T], *, repeatable: bool = False) -> T:
        answer = self._transport.send(
            "POST",
            path,
            content=msgspec.json.encode(body),
            headers={"content-type": "application/json"},
            repeatable=repeatable,
        )
        return msgspec.json.decode(answer, type=kind)
