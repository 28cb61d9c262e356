"""A connection that nobody uses any more is closed, though no answer sets a timer of its own."""

from __future__ import annotations

import asyncio

from homeostat.server.dataplane import DataPlane
from homeostat.server.direct import Direct
from homeostat.server.short import drop_slow
from tests.engine.serving.fakes import body
from tests.engine.serving.test_plane import World
from tests.server.listening import listening

REQUEST = b"POST /predict/flights HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"


def test_it_is_closed_after_its_time_and_not_before() -> None:
    async def run() -> None:
        world = World()
        world.deploy(1, 1)
        await world.plane.sync()
        async with listening(DataPlane(world.plane)) as (port, state):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(REQUEST % (len(body()), body()))
                assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"}")
                drop_slow(state.connections, 30)
            (connection,) = state.connections
            assert isinstance(connection, Direct)
            assert state.total_requests == 2
            connection.timeout_keep_alive = -1
            drop_slow(state.connections, 30)
            assert await reader.read() == b""
            writer.close()
        await world.plane.close()

    asyncio.run(run())
