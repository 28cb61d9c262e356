"""Files over HTTP: bodies taken in and given out a piece at a time, with the disk's work off the event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from homeostat.app import artifacts
from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.places import media_type
from homeostat.server.http import Disconnected, Headers, Receive, Scope, Send, respond

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.domain.tracking import ArtifactFile

_PIECE: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes=(?:(?P<first>\d{1,18})-(?P<last>\d{0,18})|-(?P<tail>\d{1,18}))")


async def take_in(
    container: Container, pool: Executor, receive: Receive, path: str, *, limit: int | None = None
) -> ArtifactFile:
    """Keep the body of a request as the file at a path. A body that ends early leaves nothing.

    Raises:
        BadRequest: no file can be there; where there is a limit, the body has more than ``limit`` bytes, or none.
        Conflict: a folder is there, or a file where it needs a folder.
        Disconnected: the client is gone.
    """
    loop = asyncio.get_running_loop()
    upload = artifacts.Upload(container, path)
    putting: asyncio.Future[None] = loop.create_future()  # one chunk goes to the disk while the next comes in
    putting.set_result(None)
    size, more = 0, True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected("the client went away")
            body = message.get("body", b"")
            size += len(body)
            if limit is not None and size > limit:
                raise BadRequest(f"Artifact size is too large. Max size is {limit >> 20}MB.", field="data")
            if upload.take(body):
                await putting
                putting = loop.run_in_executor(pool, upload.put)
            more = message.get("more_body", False)
    finally:
        await putting
    if limit is not None and not size:
        raise BadRequest("Request must specify data.", field="data")
    return await loop.run_in_executor(pool, upload.finish)


async def give_out(
    container: Container, pool: Executor, scope: Scope, receive: Receive, send: Send, path: str
) -> None:
    """Answer with the file at a path, or the range of it that was asked for.

    Raises:
        NotFound: there is none, or its first bytes are gone.
        BadRequest: the path cannot be, or a folder is there.
    """
    loop = asyncio.get_running_loop()
    file = await loop.run_in_executor(pool, artifacts.find, container, path)
    asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
    tag = f'"{artifacts.etag(file).removeprefix("sha256:")}"'
    headers: Headers = [
        (b"accept-ranges", b"bytes"),
        (b"content-disposition", _disposition(file.path)),
        (b"etag", tag.encode()),
        (b"last-modified", format_datetime(file.at, usegmt=True).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    kind = media_type(file.path).encode()
    part = _part(asked.get(b"range", ""), file.size) if asked.get(b"if-range", tag) == tag else None
    if part is None:
        status, start, end = 200, 0, file.size
    elif part.start >= part.stop:
        await respond(
            send, 416, b"", [*headers, (b"content-range", f"bytes */{file.size}".encode())], media_type=kind
        )
        return
    else:
        status, start, end = 206, part.start, part.stop
        headers.append((b"content-range", f"bytes {start}-{end - 1}/{file.size}".encode()))
    chunks = artifacts.content(container, file, start, end)
    chunk = await loop.run_in_executor(pool, next, chunks, b"")  # before the status: it may be gone
    headers += [(b"content-type", kind), (b"content-length", str(end - start).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    with _watching(receive) as watch:
        while chunk and not watch.done():
            for piece in _pieces(chunk):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            chunk = await loop.run_in_executor(pool, next, chunks, b"")
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def _watching(receive: Receive) -> Iterator[asyncio.Task[None]]:
    """A task that is done once the client went away: sending to it would go unnoticed."""

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    watch = asyncio.create_task(leave())
    try:
        yield watch
    finally:
        watch.cancel()


def _pieces(chunk: bytes) -> Iterator[bytes]:
    return (chunk[start : start + _PIECE] for start in range(0, len(chunk), _PIECE))


def _part(asked: str, size: int) -> range | None:
    """The bytes that a Range header asks for; empty when there are none such, None when it asks for no one range."""
    found = _RANGE.fullmatch(asked.replace(" ", ""))
    if found is None:
        return None
    if found["tail"]:
        return range(max(size - int(found["tail"]), 0), size)
    first = int(found["first"])
    end = int(found["last"]) + 1 if found["last"] else size
    return None if found["last"] and end <= first else range(first, min(end, size))


def _disposition(path: str) -> bytes:
    """Always an attachment: what somebody uploaded must not run as a page of this server."""
    name = path.rpartition("/")[2]
    plain = re.sub(r'["\\]', "_", name.encode("ascii", "ignore").decode()) or "download"
    value = f'attachment; filename="{plain}"'
    return (value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}").encode()
