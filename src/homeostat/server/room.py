"""Memory for bodies: so many bytes of requests are held at once, and who comes beyond them is asked to come again.

One body has its own limit; this one is for all of them together, from their first bytes to the end of their answer.
A body whose parts are put together is there twice for that moment, one body at a time. What is read out of a body, as a
table of rows, comes on top, for as many calls as have a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from homeostat.server.http import HttpError


class Room:
    """A number of bytes that requests share. Belongs to one event loop.

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """What one request holds, until it is answered: call it with each number of bytes that come.

        Raises:
            HttpError: 503, by the call: others hold too much.
        """
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            if self._held + size > self._size:
                raise HttpError(
                    503,
                    "busy",
                    f"{self._held >> 20:,} MiB of requests are under way, and this one does not fit beside them",
                    remedy="Try again shortly, or send less at once",
                    headers=[(b"retry-after", b"1"), (b"connection", b"close")],
                )
            self._held += size
            mine += size

        try:
            yield take
        finally:
            self._held -= mine
