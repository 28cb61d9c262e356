"""The control API drops who never ends asking, and lets large bodies take their time."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from homeostat.app.container import Container
from homeostat.server import control, http
from homeostat.server.api import Api
from homeostat.server.mlflow.short import Logging

HEAD = "{} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n"
FILES = "/api/2.0/mlflow-artifacts/artifacts/some/file"


def test_who_never_ends_asking_is_dropped(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_PATIENCE", 0.3)
    monkeypatch.setattr(control, "_SWEEPS", 1)
    monkeypatch.setattr(control, "_LOOKS", 1)
    monkeypatch.setattr(http, "_STALLED", 3.0)

    async def said(port: int, *parts: str) -> str:
        """What a client is told that says this, half a second a part, and then nothing more."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part.encode())
            await asyncio.sleep(0.5)
        try:
            return (await asyncio.wait_for(reader.read(), 30)).decode().partition("\r\n")[0]
        except ConnectionResetError:
            return ""
        finally:
            writer.close()

    async def run() -> list[str]:
        listening, done = socket.create_server(("127.0.0.1", 0)), False
        api = Api(container, pool)
        short = type("Short", (Logging,), {"api": api})
        serving = asyncio.create_task(
            control.serve(api, listening, None, lambda: True, lambda: done, protocol=short)
        )
        port = listening.getsockname()[1]
        slow = HEAD.format("POST /datasets/none/rows").replace("host", "connection: close\r\nhost")
        try:
            return await asyncio.gather(
                said(port),
                said(port, "POST /fre"),
                said(port, HEAD.format("POST /api/2.0/mlflow/runs/set-tag")),
                said(port, HEAD.format("POST /datasets/none/rows")),
                said(port, HEAD.format("POST /models/none/import")),
                said(port, HEAD.format("POST /api/2.0/mlflow/runs/search")),
                said(port, HEAD.format(f"PUT {FILES}"), "[" + " " * 10),
                said(port, slow, "[" + " " * 9, " " * 9 + "]"),
            )
        finally:
            done = True
            await serving

    with ThreadPoolExecutor(2) as pool:
        dropped, timeout, bad = "", "HTTP/1.1 408 Request Timeout", "HTTP/1.1 400 Bad Request"
        told = asyncio.run(run())
    assert told == [dropped, dropped, dropped, timeout, timeout, bad, bad, "HTTP/1.1 404 Not Found"]
