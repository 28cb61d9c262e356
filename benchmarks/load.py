"""Many clients on one server, each asking again as soon as it was answered; and what the server spent on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import psutil
import uvloop

CLIENTS = 64


@dataclass(frozen=True)
class Load:
    """What came of it; seconds."""

    answered: int
    cpu: float
    wall: float
    latencies: list[float]

    @property
    def per_cpu_second(self) -> float:
        return self.answered / self.cpu

    @property
    def per_second(self) -> float:
        return self.answered / self.wall

    def quantile(self, share: float) -> float:
        return sorted(self.latencies)[int(share * (len(self.latencies) - 1))]


def load(server: psutil.Process, port: int, path: str, body: Callable[[int], bytes], seconds: float) -> Load:
    """Ask for some seconds; counts the CPU of the server and of every process below it.

    Args:
        body: What a client asks, by its number.
    """
    before, began = _cpu(server), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        latencies = runner.run(_ask(port, path, body, seconds))
    wall = time.perf_counter() - began
    return Load(len(latencies), _cpu(server) - before, wall, latencies)


def _cpu(server: psutil.Process) -> float:
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


async def _ask(port: int, path: str, body: Callable[[int], bytes], seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    made = [
        await loop.create_connection(partial(_Client, path, body(number), until), "127.0.0.1", port)
        for number in range(CLIENTS)
    ]
    async with asyncio.timeout(seconds + 60):
        return [one for found in await asyncio.gather(*(client.done for _, client in made)) for one in found]


class _Client(asyncio.Protocol):
    def __init__(self, path: str, body: bytes, until: float) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._until = until
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[list[float]] = self._loop.create_future()
        self._latencies: list[float] = []
        self._asked = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are none by inheritance
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        refused = head.startswith(
            b"HTTP/1.1 503"
        )  # that much was too much: it is asked again, and does not count
        if not refused and not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._buffer[:2000].decode()))
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._buffer = b""
        now = self._loop.time()
        if not refused:
            self._latencies.append(time.perf_counter() - self._asked)
        if now < self._until:
            self._ask()
        else:
            self._transport.close()
            self.done.set_result(self._latencies)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or RuntimeError("the server closed the connection"))

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)
