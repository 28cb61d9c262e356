"""The control API: who is answered, and by what: Homeostat's own calls, or MLflow's.

A request that a page of another origin sent is refused, and on a loopback address one that names another host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Match

from homeostat.server.calls import Call
from homeostat.server.endpoints import Endpoints
from homeostat.server.http import Headers, HttpError, Receive, Scope, Send, respond
from homeostat.server.mlflow.app import Mlflow
from homeostat.server.origins import names, refusal
from homeostat.server.room import Room

if TYPE_CHECKING:
    from homeostat.app.container import Container
    from homeostat.server.native import Native

_ROOM: Final = 2 << 30  # bytes of all bodies at once


class Api:
    """The ASGI application. It answers MLflow's calls at once, and imports Homeostat's own when they are asked for.

    Args:
        container: The ports.
        pool: Where calls run.
        importing: That import stands in it.
    """

    def __init__(
        self,
        container: Container,
        pool: Executor,
        importing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._container = container
        self._pool = pool
        self._importing = importing
        self._hosts = names(container.settings.host)
        room = Room(_ROOM)
        self._endpoints = Endpoints(container, pool, room)
        # In a thread of its own: that calls are slow is no reason to be taken for dead.
        alone = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._health = Endpoints(container, alone, room).get("/health", self._healthy)
        self._native: Native | None = None
        self._lock = Lock()
        self.mlflow = Mlflow(container, pool, room)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (error := self.refusal(scope["headers"])) is not None:
            await respond(send, error.status, error.body())
        elif self.mlflow.answers(scope["path"]):
            await self.mlflow(scope, receive, send)
        elif self._health.matches(scope)[0] is Match.FULL:
            await self._health.handle(scope, receive, send)
        else:
            if self._native is None:
                await asyncio.get_running_loop().run_in_executor(self._pool, self.native)
            await self.native()(scope, receive, send)

    def refusal(self, headers: Headers) -> HttpError | None:
        """Why a request with these headers is not answered; None where it is."""
        return refusal(headers, self._hosts)

    def native(self) -> Native:
        """Homeostat's own calls."""
        with self._lock:
            if self._native is None:
                with self._importing():
                    from homeostat.server.native import Native
                self._native = Native(self._container, self._endpoints, self._health)
            return self._native

    def _healthy(self, _: Call) -> dict[str, Any]:
        container = self._container
        return {
            "status": "ok",
            "clock": container.settings.clock,
            "now": container.clock.now(),
            "ledger": container.ledger.head().seq,
        }
