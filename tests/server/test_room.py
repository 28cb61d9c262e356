"""Bodies that are held in memory share so many bytes; who comes beyond them is asked to come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from homeostat.app.container import Container
from homeostat.server import api, endpoints, http
from homeostat.server.http import Receive, Scope, Send
from tests.server.listening import speaking

pytestmark = pytest.mark.slow

MEBIBYTE = b" " * (1 << 20)


def test_a_body_that_does_not_go_on_leaves_its_room(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_ROOM", 3 << 20)
    monkeypatch.setattr(http, "_STALLED", 0.2)

    async def run() -> list[httpx.Response]:
        app = api.Api(container, pool)

        async def stalled() -> AsyncIterator[bytes]:
            yield MEBIBYTE * 2
            await asyncio.sleep(60)

        async with (
            speaking(app, HttpToolsProtocol) as (port, _),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            first = asyncio.create_task(client.post("/datasets/none/rows", content=stalled()))
            answers = [await first]
            answers.append(await client.post("/datasets/none/rows", content=MEBIBYTE * 2 + b"[]"))
        return answers

    with ThreadPoolExecutor(2) as pool:
        stalled, second = asyncio.run(run())
    assert (stalled.status_code, stalled.json()["error"]["code"]) == (408, "body_stalled")
    assert second.status_code == 404  # read, and of no dataset


def test_who_comes_beyond_the_room_is_asked_to_come_again(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_ROOM", 3 << 20)
    monkeypatch.setattr(endpoints, "_PLAIN_ROOM", 1 << 20)
    small = b'{"reason": "a test"}'

    async def run() -> dict[str, httpx.Response]:
        app, found = api.Api(container, pool), {}
        held, more = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield MEBIBYTE * 2
            await more.wait()
            yield b"[]"

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            arrived = 0

            async def told() -> MutableMapping[str, Any]:
                nonlocal arrived
                message = await receive()
                arrived += len(message.get("body", b""))
                if arrived >= 2 << 20:
                    held.set()
                return message

            await app(scope, told, send)

        async with (
            speaking(watched, HttpToolsProtocol) as (port, _),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ):
            first = asyncio.create_task(client.post("/datasets/none/rows", content=slow()))
            await held.wait()
            second = MEBIBYTE * 2 + b"[]"
            found["refused"] = await client.post("/datasets/none/rows", content=second)
            found["mlflow"] = await client.post("/api/2.0/mlflow/runs/search", content=second)
            found["small"] = await client.post("/freeze", content=small)
            found["plain"] = await client.post("/models/none/train", content=MEBIBYTE)
            more.set()
            found["first"] = await first
            found["again"] = await client.post("/datasets/none/rows", content=second)
        return found

    with ThreadPoolExecutor(2) as pool:
        found = asyncio.run(run())
    assert found["refused"].status_code == 503
    assert found["refused"].json()["error"]["code"] == "busy"
    assert found["refused"].headers["retry-after"] == "1"
    assert (found["mlflow"].status_code, found["mlflow"].json()["error_code"]) == (
        503,
        "TEMPORARILY_UNAVAILABLE",
    )
    assert found["small"].status_code == 200
    assert found["plain"].status_code == 400  # read, and no JSON
    assert found["first"].status_code == found["again"].status_code == 404  # read, and of no dataset
