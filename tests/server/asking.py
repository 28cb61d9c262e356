"""Asking an ASGI application directly: with bodies in pieces that may end early, and paths as raw as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

from homeostat.server.http import App


@dataclass
class Answer:
    """What was sent; a status of 0 is none at all."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def ask(
    app: App,
    method: str,
    path: str,
    query: str = "",
    *,
    body: Sequence[bytes] = (),
    whole: bool = True,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Ask once. With `whole` False the client goes away after what it sent of its body."""
    answer = Answer()
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in body
    ]
    if whole:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    messages.reverse()

    async def call() -> None:
        ended = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            if whole:
                await ended.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                if not message.get("more_body"):
                    ended.set()

        raw = path.encode("latin-1")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(raw.decode("latin-1")),
            "raw_path": raw,
            "query_string": query.encode("latin-1"),
            "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
        }
        await app(scope, receive, send)

    asyncio.run(call())
    return answer
