"""Bodies and answers that are files, however large: by way of a temporary file, which goes with the process.

So what is wrong with a body is known before anything of it is kept, and what is wrong with an answer before its status.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from starlette.responses import StreamingResponse

from homeostat.adapters.disk import kept
from homeostat.app.space import LEAST
from homeostat.domain.errors import StoreUnavailable
from homeostat.server.http import ENCODING, Disconnected, HttpError, Receive, Scope, header

if TYPE_CHECKING:
    from starlette.responses import Response

_PIECE: Final = 1 << 20
_LOOK: Final = 64 << 20  # bytes after which to look at the disk again


async def receive_file(scope: Scope, receive: Receive, home: Path, pool: Executor) -> BinaryIO:
    """The request's body as a temporary file, which the caller closes.

    Raises:
        HttpError: 415, it is compressed; or what ``receive`` raises.
        StoreUnavailable: the disk does not take it, or would be full with it.
        Disconnected: the client is gone.
    """
    if header(scope, ENCODING).strip().lower() not in (b"", b"identity"):
        raise HttpError(
            415, "unsupported_encoding", "a file is not read compressed", remedy="Send it as it is"
        )
    loop = asyncio.get_running_loop()
    said = header(scope, b"content-length")
    parts: list[bytes] = []
    held, unlooked, more = 0, 0, True
    with kept("the body", home) as file:
        _spare(home, int(said) if said.isdigit() else 0)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected("the client went away")
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            held += len(part)
            if held >= _PIECE or not more:
                await loop.run_in_executor(pool, file.writelines, parts)
                unlooked += held
                parts, held = [], 0
            if unlooked >= _LOOK:
                unlooked = 0
                _spare(home, 0)
        await loop.run_in_executor(pool, file.flush)
    return file


def _spare(home: Path, size: int) -> None:
    """Refuse so many bytes where they would leave the disk so full that nothing is trained."""
    free = shutil.disk_usage(home).free
    if free - LEAST < size:
        raise StoreUnavailable(
            f"the body does not fit below {home}: {free >> 20:,} MiB are free, of which {LEAST >> 20} stay so",
            remedy="Free some space there",
        )


def send_file(file: BinaryIO, media: str, pool: Executor) -> Response:
    """The answer that is what a file holds; closes it."""
    size = file.seek(0, 2)
    file.seek(0)
    return StreamingResponse(_pieces(file, pool), headers={"content-length": str(size)}, media_type=media)


async def _pieces(file: BinaryIO, pool: Executor) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    with file:
        while piece := await loop.run_in_executor(pool, file.read, _PIECE):
            yield piece
