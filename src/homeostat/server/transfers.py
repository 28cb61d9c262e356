"""Bodies and answers that are files, however large: by way of a temporary file, which goes with the process.

So what is wrong with a body is known before anything of it is kept, and what is wrong with an answer before its status.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from starlette.responses import StreamingResponse

from homeostat.domain.errors import StoreUnavailable
from homeostat.server.http import ENCODING, Disconnected, HttpError, Receive, Scope, header

if TYPE_CHECKING:
    from starlette.responses import Response

_PIECE: Final = 1 << 20


def temporary(home: Path) -> BinaryIO:
    """A new file in the home, where there is space for what the store is to hold; closing it removes it."""
    home.mkdir(parents=True, exist_ok=True)
    return cast("BinaryIO", TemporaryFile(dir=home))


async def receive_file(scope: Scope, receive: Receive, home: Path, pool: Executor) -> BinaryIO:
    """The request's body as a temporary file, which the caller closes.

    Raises:
        HttpError: 415, it is compressed.
        StoreUnavailable: the disk does not take it.
        Disconnected: the client is gone.
    """
    if header(scope, ENCODING).strip().lower() not in (b"", b"identity"):
        raise HttpError(
            415, "unsupported_encoding", "a file is not read compressed", remedy="Send it as it is"
        )
    loop = asyncio.get_running_loop()
    file = temporary(home)
    parts: list[bytes] = []
    held, more = 0, True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected("the client went away")
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            held += len(part)
            if held >= _PIECE or not more:
                await loop.run_in_executor(pool, file.writelines, parts)
                parts, held = [], 0
        await loop.run_in_executor(pool, file.flush)
    except OSError as error:
        file.close()
        full = error.errno == errno.ENOSPC
        raise StoreUnavailable(
            f"the body cannot be kept below {home}: {error.strerror}",
            remedy="Free some space there" if full else "Look at the server's log",
        ) from error
    except BaseException:
        file.close()
        raise
    return file


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
