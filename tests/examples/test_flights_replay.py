"""The replay delivers every row once, asks every flight once, and counts what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from examples.flights.lanes import Answer, Lanes
from examples.flights.replay import FIRST, HOUR, MONTHS, NEW_YEAR, Year, bodies, hours

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_every_row_is_delivered_once_and_in_its_hour(tables: dict[str, pl.DataFrame]) -> None:
    year = Year({name: tables[name] for name in ("flights", "landings", "weather")})
    end = FIRST + timedelta(days=3)
    seen: dict[str, list[pl.DataFrame]] = {"flights": [], "landings": [], "weather": []}
    tokens: set[str] = set()
    before = FIRST
    for hour in [
        *hours(FIRST + HOUR, end - 5 * HOUR),
        end,
    ]:  # the last delivery holds what five hours brought
        for delivery in year.delivered(before, hour):
            seen[delivery.dataset].append(delivery.rows)
            assert delivery.token not in tokens
            tokens.add(delivery.token)
            time = delivery.rows[
                {"flights": "sched_dep", "landings": "landed_at"}.get(delivery.dataset, "observed_at")
            ]
            assert time.is_between(before, hour, closed="right").all()
        before = hour
    for name, parts in seen.items():
        assert pl.concat(parts).equals(year.before(name, FIRST, end))


def test_months_before_the_replay_are_whole(tables: dict[str, pl.DataFrame]) -> None:
    year = Year({name: tables[name] for name in ("flights", "landings", "weather")})
    parts = [next(iter(year.month(end))).rows.height for end in MONTHS]
    assert sum(parts) == tables["flights"].filter(pl.col("sched_dep") <= FIRST).height
    assert all(part > 24_000 for part in parts)


def test_every_flight_asks_once_before_it_is_delivered(tables: dict[str, pl.DataFrame]) -> None:
    year = Year({name: tables[name] for name in ("flights", "landings", "weather")})
    end = FIRST + timedelta(days=3)
    asked = pl.concat([year.leaving(hour) for hour in hours(FIRST, end - HOUR)])
    expected = tables["flights"].filter(pl.col("sched_dep").is_between(FIRST, end, closed="left"))
    assert asked.equals(expected)
    request = json.loads(bodies(asked[:1])[0])
    assert request["flight"] == asked["flight"][0]
    assert datetime.fromisoformat(request["sched_dep"]) == asked["sched_dep"][0]


def test_the_replay_ends_when_the_last_flight_has_landed(tables: dict[str, pl.DataFrame]) -> None:
    year = Year({name: tables[name] for name in ("flights", "landings", "weather")})
    end = year.last_landing(NEW_YEAR)
    assert end >= tables["landings"]["landed_at"].max()
    assert (end.minute, end.second) == (0, 0)
    assert year.last_landing(datetime(2013, 1, 1, tzinfo=UTC)) == datetime(2013, 1, 1, tzinfo=UTC)


async def asked(handler: Handler, count: int, lanes: int = 4) -> list[Answer]:
    """Ask a server that answers with ``handler``, and end both."""
    ended: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.current_task())
        await handler(reader, writer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Lanes(f"http://127.0.0.1:{port}/predict/flight-delay", lanes)
    try:
        groups = [[json.dumps({"flight": index}).encode()] for index in range(count)]
        return [answer for group in await client.ask(groups) for answer in group]
    finally:
        client.close()
        server.close()
        await asyncio.gather(*(task for task in ended if task is not None))


async def body_of(reader: asyncio.StreamReader) -> bytes | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    assert head.startswith(b"POST /predict/flight-delay HTTP/1.1\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    return await reader.readexactly(length)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own number, in two pieces."""
    while (body := await body_of(reader)) is not None:
        (flight,) = json.loads(body)["instances"]
        said = {"prediction_id": str(flight["flight"]), "version": 1, "arm": "champion", "score": 0.5}
        answer = json.dumps({"predictions": [said]})
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\n\r\n{answer[:5]}".encode())
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(answer[5:].encode())


def test_answers_come_in_the_order_of_the_requests() -> None:
    answers = asyncio.run(asked(echo, 50))
    assert [answer.prediction_id for answer in answers] == [str(index) for index in range(50)]
    assert {answer.status for answer in answers} == {200}


async def refuse_odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (body := await body_of(reader)) is not None:
        odd = json.loads(body)["instances"][0]["flight"] % 2
        status, answer = (
            ("503 Busy", b'{"error":{"code":"overloaded"}}')
            if odd
            else ("200 OK", b'{"predictions":[{"score":0.1}]}')
        )
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(answer)}\r\n\r\n".encode() + answer)


def test_a_refused_request_is_an_answer_with_its_reason() -> None:
    answers = asyncio.run(asked(refuse_odd, 6))
    assert [answer.status for answer in answers] == [200, 503, 200, 503, 200, 503]
    assert "overloaded" in answers[1].error
    assert answers[1].score is None


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request of each connection and break off at the next."""
    await body_of(reader)
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n{"predictions":[{"score":0.1}]}')
    await writer.drain()
    await body_of(reader)


def test_a_connection_that_breaks_fails_its_request_and_the_next_gets_a_new_one() -> None:
    answers = asyncio.run(asked(hang_up, 4, lanes=1))
    assert [answer.status for answer in answers] == [200, 0, 200, 0]
    assert "broke" in answers[1].error


def test_a_server_that_is_not_there_is_an_error() -> None:
    async def nobody() -> list[Answer]:
        return await Lanes("http://127.0.0.1:9/predict/flight-delay").ask([b"{}"])

    with pytest.raises(OSError, match="9"):
        asyncio.run(nobody())
