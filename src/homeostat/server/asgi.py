"""uvicorn as both kinds of process run it. To be imported when there is something to answer: it takes a moment."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from homeostat.server.http import App

_IDLE: Final = 75  # seconds that a connection is kept for its next request


class Server(uvicorn.Server):
    """Stops on a signal, where uvicorn's own handler would kill the process before it has left.

    Args:
        config: See ``config_of``.
        started: Called once it answers.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._started = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let a signal stop it while the block lasts."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        yield

    def stop(self) -> None:
        """Answer what there is, and end."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._started()


def config_of(app: App, protocol: type[HttpToolsProtocol], *, grace: float, **more: Any) -> uvicorn.Config:
    """How an application is answered for: HTTP alone, without what uvicorn would log or add.

    Args:
        app: The application.
        protocol: What reads requests.
        grace: Seconds that what was asked has once it is to stop.
        more: What else ``uvicorn.Config`` takes.
    """
    return uvicorn.Config(
        app,
        interface="asgi3",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=int(grace),
        **more,
    )
