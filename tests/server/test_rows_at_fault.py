"""Of a request of several rows, the error names the one that has no answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from homeostat.server.dataplane import DataPlane
from tests.engine.serving.fakes import ROW, FakeScorer, loaded
from tests.engine.serving.test_plane import World
from tests.server.listening import listening


def test_a_row_that_the_champion_answered_in_a_canarys_place_is_not_at_fault() -> None:
    async def run() -> Any:
        world = World()
        example = ROW | {"id": "sound"}
        world.versions = {
            1: loaded(1, FakeScorer(fails=["b"]), example=example),
            2: loaded(2, FakeScorer(fails=["a", "b"]), example=example),
        }
        world.deploy(1, 1, 2, share=1.0)
        await world.plane.sync()
        async with (
            listening(DataPlane(world.plane)) as (port, _),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            rows = [ROW | {"id": id} for id in "abc"]
            answer = await client.post("/predict/flights", json={"instances": rows})
        await world.plane.close()
        return answer

    answer = asyncio.run(run())
    assert (answer.status_code, answer.json()["error"]["field"]) == (500, "instances[1]")
