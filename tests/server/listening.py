"""Applications that answer on a real socket, in the event loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from homeostat.server.dataplane import DataPlane
from homeostat.server.direct import Direct
from homeostat.server.http import App


@asynccontextmanager
async def speaking(app: App, protocol: type[HttpToolsProtocol]) -> AsyncIterator[tuple[int, ServerState]]:
    """The port, and what uvicorn knows of its connections."""
    state = ServerState()
    config = uvicorn.Config(app, interface="asgi3", log_config=None, timeout_keep_alive=3600)
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1], state
    finally:
        server.close()


@asynccontextmanager
async def listening(app: DataPlane) -> AsyncIterator[tuple[int, ServerState]]:
    """A data plane with the short way of its predictions."""
    async with speaking(app.public, type("Public", (Direct,), {"dataplane": app})) as found:
        yield found
