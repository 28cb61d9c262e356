"""What is logged one by one is answered past uvicorn's cycles, and nobody can tell but by the time it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.server.api import Api
from homeostat.server.mlflow.short import Logging
from homeostat.server.short import Asked, drop_slow
from tests.server.listening import speaking

AT = "/api/2.0/mlflow/runs/"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Any], Awaitable[None]]


@pytest.fixture(params=["sqlite", "postgresql"])
def container(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Container]:
    store = {"store": request.getfixturevalue("postgres_url")} if request.param == "postgresql" else {}
    with Container(Settings(home=tmp_path / "home", **store)) as container:
        yield container


@pytest.fixture
def run(container: Container) -> str:
    return tracking.create_run(container, tracking.create_experiment(container, "e").id).id


def talk(container: Container, say: Talk) -> None:
    """Say something on one connection."""

    async def listen() -> None:
        api = Api(container, pool)
        async with speaking(api, type("Short", (Logging,), {"api": api})) as (port, state):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await say(reader, writer, state)
            writer.close()

    with ThreadPoolExecutor(2) as pool:
        asyncio.run(listen())


def request(call: str, message: Any, *, headers: str = "", kind: str = "application/json") -> bytes:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    head = f"POST {AT}{call} HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nContent-Type: {kind}\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """The status and the message."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def point(run: str, step: int) -> dict[str, Any]:
    return {"run_id": run, "key": "loss", "value": 1 / (step + 1), "timestamp": 1000 + step, "step": step}


def test_points_parameters_and_tags_are_logged(container: Container, run: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        for step in range(30):
            whole = request("log-metric", point(run, step))
            for part in (whole[:50], whole[50:-3], whole[-3:]):  # as it may come
                writer.write(part)
                await asyncio.sleep(0)
            assert await answer(reader) == (200, {})
            (connection,) = state.connections
            assert type(connection.cycle) is Asked
        writer.write(request("log-parameter", {"run_id": run, "key": "depth", "value": "3"}))
        assert await answer(reader) == (200, {})
        writer.write(request("set-tag", {"run_id": run, "key": "team", "value": "é"}))
        assert await answer(reader) == (200, {})

    talk(container, say)
    assert tracking.history(container, run, "loss").step.tolist() == list(range(30))
    found = tracking.run_data(container, [run])[run]
    assert (found.params, found.tags["team"]) == ({"depth": "3"}, "é")


def test_many_in_one_go_are_answered_in_their_order(container: Container, run: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        wrong = point(run, 3) | {"step": "three"}
        said = [point(run, 0), point(run, 1), wrong, point("none", 4), point(run, 5)]
        writer.write(b"".join(request("log-metric", one) for one in said))
        writer.write(request("search", {"experiment_ids": ["1"]}))
        assert [(await answer(reader))[0] for _ in range(6)] == [200, 200, 400, 404, 200, 200]

    talk(container, say)
    assert tracking.history(container, run, "loss").step.tolist() == [0, 1, 5]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        (request("log-metric", b"{"), 400, "no JSON"),
        (request("log-metric", {"key": "a", "value": 1, "timestamp": 1}), 400, "run_id"),
        (request("log-metric", point("r", 1) | {"value": "much"}), 400, "value"),
        (request("log-metric", point("r", 1), kind="text/plain"), 400, "Content-Type"),
        (request("log-metric", point("r", 1)).replace(b"127.0.0.1", b"evil.test"), 403, "evil.test"),
        (request("log-metric", point("r", 1), headers="Origin: http://evil.test\r\n"), 403, "evil.test"),
        (request("log-metric", point("r", 1) | {"more": "x" * 70_000}), 404, "Run with id=r not found"),
    ],
)
def test_what_cannot_be_is_told(container: Container, asked: bytes, status: int, said: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        for _ in range(2):  # the connection goes on
            writer.write(asked)
            found, message = await answer(reader)
            assert found == status
            assert said in json.dumps(message)

    talk(container, say)


def test_who_closes_its_side_is_answered(container: Container, run: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        writer.write(request("log-metric", point(run, 0)))
        writer.write_eof()
        assert await answer(reader) == (200, {})
        assert await reader.read() == b""

    talk(container, say)
    assert len(tracking.history(container, run, "loss")) == 1


def test_a_body_without_a_length_is_read_too(container: Container, run: str) -> None:
    body = json.dumps(point(run, 7)).encode()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        head = request("log-metric", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        writer.write(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert await answer(reader) == (200, {})

    talk(container, say)
    assert tracking.history(container, run, "loss").step.tolist() == [7]


def test_a_connection_that_nobody_uses_is_closed(container: Container, run: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        writer.write(request("log-metric", point(run, 0)))
        assert (await answer(reader))[0] == 200
        (connection,) = state.connections
        drop_slow(state.connections, 0)
        connection.timeout_keep_alive = -1
        drop_slow(state.connections, 0)
        assert await reader.read() == b""

    talk(container, say)


def test_a_body_that_nobody_waits_for_any_more_holds_no_connection(container: Container) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        writer.write(b"POST /none HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n")
        assert (await answer(reader))[0] == 404
        writer.write(b"abc")
        await asyncio.sleep(0.1)
        drop_slow(state.connections, 0)
        await asyncio.sleep(0.1)
        drop_slow(state.connections, 0)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""

    talk(container, say)


def test_what_nobody_foresaw_is_answered_and_logged(
    container: Container, run: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("of all things")

    monkeypatch.setattr("homeostat.server.mlflow.wire.Wire.soon", broken)

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: Any) -> None:
        writer.write(request("log-metric", {"run_id": run, "key": "loss", "value": 1.0, "timestamp": 1}))
        status, message = await answer(reader)
        assert (status, message["error_code"]) == (500, "INTERNAL_ERROR")

    talk(container, say)
    assert "of all things" in caplog.text
