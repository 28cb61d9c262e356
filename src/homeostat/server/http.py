"""Bare ASGI with msgspec: bodies in with a limit, JSON out, one form of error."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple

import msgspec

from homeostat.domain.errors import HomeostatError
from homeostat.domain.numbers import in_json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

encode: Final = msgspec.json.Encoder(enc_hook=in_json).encode


JSON: Final = b"application/json"
ENCODING: Final = b"content-encoding"
_ENCODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
_STALLED: Final = 60.0  # seconds in which nothing more of a body comes: its sender is gone without a word


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: Headers | None = None


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is wrong, for a program (``code``), a person (``message``) and a form (``field``)."""

    code: str
    message: str
    field: str = ""
    remedy: str = ""


class HttpError(HomeostatError):
    """A request that ends with an error status.

    Args:
        status: The HTTP status.
        code: The kind of error, stable, in snake case.
        extra: More members of the body, beside ``error``.
        headers: More headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str = "",
        remedy: str = "",
        extra: dict[str, Any] | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.code, self.field = status, code, field
        self.extra = extra or {}
        self.headers = headers or []

    def body(self) -> bytes:
        """The answer as JSON: ``{"error": {"code", "message", "field", "remedy"}}``."""
        problem = Problem(code=self.code, message=self.message, field=self.field, remedy=self.remedy)
        return encode({"error": problem, **self.extra})


class Disconnected(HomeostatError):
    """The client went away before its request was whole."""


def only(scope: Scope, *methods: str) -> None:
    """Refuse other methods; what may be read may be asked for its headers too.

    Raises:
        HttpError: 405, with what is allowed.
    """
    if scope["method"] not in methods:
        if "GET" in methods:
            if scope["method"] == "HEAD":
                return
            methods = ("GET", "HEAD")
        allowed = ", ".join(methods)
        raise HttpError(
            405,
            "method_not_allowed",
            f"{scope['method']} is not for {scope['path']}",
            remedy=f"Use {allowed}",
            headers=[(b"allow", allowed.encode())],
        )


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a header; empty where there is none."""
    return next((value for key, value in scope["headers"] if key == name), b"")


async def read_body(
    scope: Scope, receive: Receive, limit: int, take: Callable[[int], None] = lambda size: None
) -> bytes:
    """The request's body, unpacked where it is compressed.

    Args:
        take: Told of each number of bytes that are held, before more are read; may raise.

    Raises:
        HttpError: 413, it is larger than ``limit`` bytes, as announced, as found or unpacked; or see ``unpacked``.
        Disconnected: the client is gone.
    """
    encoding = b""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_large(limit)
        if name == ENCODING:
            encoding = value
    body = await _body(receive, limit, take)
    if encoding:
        body = unpacked(body, encoding, limit)
        take(len(body))
    return body


def unpacked(body: bytes, encoding: bytes, limit: int) -> bytes:
    """A body of the header ``Content-Encoding``.

    Raises:
        HttpError: 415, it is of no encoding that is read here; 400, it is not what it says; 413, it is too large.
    """
    kind = encoding.strip().lower()
    if kind in (b"", b"identity"):
        return body
    if kind not in _ENCODINGS:
        raise HttpError(
            415,
            "unsupported_encoding",
            f"a body of the encoding {kind[:50].decode('latin-1')} is not read",
            remedy="Send it as it is, or with gzip or deflate",
        )
    unpacking = zlib.decompressobj(32 + zlib.MAX_WBITS)  # which of the two it is, the body tells
    try:
        made = unpacking.decompress(body, limit + 1)
    except zlib.error as error:
        raise _no_encoding(kind, str(error)) from None
    if len(made) > limit:
        raise too_large(limit)
    if not unpacking.eof:
        raise _no_encoding(kind, "it ends too early")
    return made


def _no_encoding(kind: bytes, why: str) -> HttpError:
    return HttpError(
        400, "invalid_encoding", f"the body is no {kind.decode()}: {why}", remedy="Compress all of it"
    )


async def _body(receive: Receive, limit: int, take: Callable[[int], None]) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body = _within(message.get("body", b""), limit)
        take(len(body))
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected("the client went away")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        take(len(part))
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def patient(receive: Receive) -> Receive:
    """``receive`` for a body that may take any time as a whole: it raises the ``HttpError`` 408 where nothing comes."""

    async def part() -> MutableMapping[str, Any]:
        try:
            async with asyncio.timeout(_STALLED):
                return await receive()
        except TimeoutError:
            raise HttpError(
                408,
                "body_stalled",
                f"nothing more came of the body for {_STALLED:g} seconds",
                remedy="Send it again",
                headers=[(b"connection", b"close")],
            ) from None

    return part


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise too_large(limit)
    return body


def too_large(limit: int) -> HttpError:
    """The answer to a body over the limit, which also ends the connection."""
    # What is left of the body is not read, so the connection cannot be used again.
    return HttpError(
        413,
        "body_too_large",
        f"the body is larger than {limit} bytes",
        remedy="Send fewer instances in one request",
        headers=[(b"connection", b"close")],
    )


async def respond(
    send: Send,
    status: int,
    body: bytes,
    headers: Headers | None = None,
    *,
    media_type: bytes = JSON,
) -> None:
    """Send an answer, JSON unless it says otherwise."""
    start: Headers = [
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode()),
    ]
    if headers:
        start += headers
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
