"""One deployment that answers: its arms, its queue and its batch loop.

A batch is whatever arrived while the model ran: there is no timer, and one client alone waits for nobody. The
model runs in the event loop: handing 0.3 ms of work to a thread costs more than the work. A model whose last two
calls took longer than ``_LONG`` seconds runs in a thread instead, so that the process keeps accepting. Shadows
are scored beside it (``shadows``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Any, Final

import msgspec

from homeostat.domain.ids import new_id
from homeostat.engine.serving.fallbacks import Degraded
from homeostat.engine.serving.predictions import Prediction, decide, message, probe
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import LiveArm, Routes, key_text
from homeostat.engine.serving.scorer import SCORE, Output, Parameters, Scorer
from homeostat.engine.serving.shadows import ShadowLane
from homeostat.ports.clock import Clock

_LONG: Final = 0.005

_log = logging.getLogger(__name__)


class Live(msgspec.Struct, frozen=True):
    """What an endpoint serves with, exchanged as one.

    Args:
        outputs: What an answer holds for a row.
        table: The name of the one tensor that holds all columns; empty where each column is one.
        probes: By version, what answers and a row to ask it with.
        parameters: By version, what may be given beside the rows.
    """

    generation: int
    reader: RequestReader
    routes: Routes
    key: tuple[str, ...]
    time: str | None
    outputs: tuple[Output, ...] = (SCORE,)
    table: str = ""
    probes: Mapping[int, tuple[Scorer, msgspec.Struct]] = {}
    parameters: Mapping[int, Parameters] = {}

    def pinned(self, version: int) -> Live | None:
        """The same with one version for every key; None where no arm has it."""
        arm = next((arm for arm in self.routes.arms if arm.version == version), None)
        if arm is None:
            return None
        alone = LiveArm(version, "champion", 1.0, arm.scorer)
        return msgspec.structs.replace(self, routes=Routes("", [alone]))

    def given(self, values: Mapping[str, Any]) -> Live:
        """The same for a request with parameters: its rows are in no batch with others."""
        arms = [
            replace(arm, scorer=self.parameters[arm.version].given(values))
            if arm.version in self.parameters
            else arm
            for arm in self.routes.arms
        ]
        routes = Routes(self.routes.deployment, arms, self.routes.fallbacks)
        return msgspec.structs.replace(self, routes=routes)


class Counts(msgspec.Struct):
    """What an endpoint has done since the process began."""

    rows: int = 0
    batches: int = 0
    errors: int = 0
    fallbacks: int = 0
    degraded: dict[str, int] = {}
    shadows: int = 0
    shadows_dropped: int = 0
    largest_batch: int = 0


Done = Callable[[list[Prediction] | Exception], None]
"""Takes the rows of a request once they are decided, or why they were lost. Raises nothing."""


class _Ask:
    __slots__ = ("done", "items", "left", "started")

    def __init__(self, items: list[Prediction], started: float, done: Done) -> None:
        self.items = items
        self.left = len(items)
        self.started = started
        self.done = done


class _Pace:
    """How long a row takes of late: the less of the last two batches, since one alone may have met with a pause."""

    __slots__ = ("_before", "_last")

    def __init__(self) -> None:
        self._before = self._last = 0.0

    def batch(self, rows: int, seconds: float) -> None:
        """One more batch was answered."""
        self._before, self._last = self._last, seconds / rows

    def seconds(self, rows: int) -> float:
        """How long so many rows will take; 0 while little is known."""
        return rows * min(self._before, self._last)


class Endpoint:
    """Answers for one deployment, in the event loop that made it.

    Args:
        live: What to serve with at first.
        clock: World time for requests, monotonic time for latencies.
        record: Takes each decided prediction, once.
        max_batch: The most rows in one call of a model.
        max_waiting: The most rows that may wait; more are refused.
        max_wait: For how many seconds of work, at the pace of the last batches, rows may wait; more are refused.
    """

    def __init__(
        self,
        live: Live,
        clock: Clock,
        record: Callable[[Prediction], None],
        *,
        max_batch: int = 512,
        max_waiting: int = 20_000,
        max_wait: float = 1.0,
    ) -> None:
        self.live = live
        self.counts = Counts()
        self.threaded = True  # until a batch was fast
        self.degraded: Degraded | None = None
        self._clock = clock
        self._record = record
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._pace = _Pace()
        self._began: float | None = None  # the batch that the model has now
        self._took = inf
        self._waiting: deque[tuple[Prediction, _Ask]] = deque()
        self._shadows = ShadowLane(record, lambda: bool(self._waiting), self.counts)
        self._closed = False
        self._arrived = asyncio.Event()
        self._submitted = self._answered = 0
        self._drains: list[tuple[int, asyncio.Future[None]]] = []
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._work())

    def submit(
        self, rows: Sequence[Any], live: Live, at: datetime, started: float
    ) -> asyncio.Future[list[Prediction]]:
        """Queue checked rows; the future gives them decided, in order.

        Raises:
            asyncio.QueueFull: too much waits already, or nothing is answered any more.
        """
        future: asyncio.Future[list[Prediction]] = self._loop.create_future()
        self.put(rows, live, at, started, partial(settled, future))
        return future

    def put(self, rows: Sequence[Any], live: Live, at: datetime, started: float, done: Done) -> None:
        """As ``submit``, for who is called back at once rather than woken: at a batch's end, all of them in turn.

        Raises:
            asyncio.QueueFull: too much waits already, or nothing is answered any more.
        """
        if self._closed:
            raise asyncio.QueueFull
        waiting = len(self._waiting)
        if waiting and (
            waiting + len(rows) > self._max_waiting or self._pace.seconds(waiting) > self._max_wait
        ):
            raise asyncio.QueueFull
        items = []
        for row in rows:
            key = key_text([getattr(row, name) for name in live.key])
            time = (getattr(row, live.time) if live.time else None) or at
            items.append(Prediction(new_id(at), row, key, at, time, live.routes))
        ask = _Ask(items, started, done)
        for item in items:
            self._waiting.append((item, ask))
        self._submitted += len(items)
        self._arrived.set()

    async def probe(self) -> str:
        """Ask every arm for a real prediction, which nobody gets and nothing logs; says what failed."""
        live = self.live
        at = self._clock.now()
        for version, (scorer, row) in live.probes.items():
            time = (getattr(row, live.time, None) if live.time else None) or at
            error = await asyncio.to_thread(probe, live.routes, scorer, row, time)
            if error is not None:
                return f"version {version}: {message(error)}"
        return ""

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return len(self._waiting)

    async def drain(self) -> None:
        """Return once every row submitted until now is answered and recorded, but for shadows that take too long.

        An endpoint that is closed, or is closed meanwhile, has nothing left to wait for.
        """
        drained: asyncio.Future[None] = self._loop.create_future()
        self._drains.append((self._submitted, drained))
        self._arrived.set()
        await asyncio.wait((drained, self._task), return_when=asyncio.FIRST_COMPLETED)
        await self._shadows.drain()

    async def close(self) -> None:
        """Finish what waits and stop; from now on nothing more is taken."""
        self._closed = True
        await self.drain()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._shadows.close()

    async def _work(self) -> None:
        while True:
            if self._drains and self._answered >= self._drains[0][0]:
                self._drained()
            elif self._waiting:
                count = min(len(self._waiting), self._max_batch)
                await self._answer([self._waiting.popleft() for _ in range(count)])
                # Twice: first the answers are written, then requests that came meanwhile are read.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            else:
                self._arrived.clear()
                await self._arrived.wait()
                await asyncio.sleep(0)  # what arrived with the first request is read before the model runs

    async def _answer(self, batch: list[tuple[Prediction, _Ask]]) -> None:
        began = self._clock.monotonic()
        try:
            await self._run(decide, [item for item, _ in batch])
            now = self._clock.monotonic()
            for item, ask in batch:
                item.latency_us = round((now - ask.started) * 1e6)
                ask.left -= 1
                if not ask.left:
                    self._conclude(ask)
        except Exception as error:  # noqa: BLE001 - see below
            # Not the model's (decide keeps those): the loop must outlive it, and its requests must get an
            # answer.
            _log.exception("batch lost")
            for _, ask in batch:
                if ask.left:
                    ask.left = 0
                    ask.done(error)
        self._pace.batch(len(batch), self._clock.monotonic() - began)
        self._answered += len(batch)
        self.counts.rows += len(batch)
        self.counts.batches += 1
        self.counts.largest_batch = max(self.counts.largest_batch, len(batch))

    def _conclude(self, ask: _Ask) -> None:
        """A request is answered as a whole: one row that cannot be scored takes the others with it."""
        failed = next((item for item in ask.items if item.status != 200 and item.fallback is None), None)
        for item in ask.items:
            if failed is not None:
                item.status, item.score, item.fallback = failed.status, None, None
                self.counts.errors += 1
            elif item.fallback is not None:
                self._degraded(item)
            if item.error is not None and item.status == 200:
                self.counts.fallbacks += 1
                _log.warning("version %d failed: %s", item.arm.version, message(item.error))
        try:
            ask.done(ask.items)
        except Exception:  # noqa: BLE001 - its rows are decided and recorded, and others wait for theirs
            _log.exception("answer lost")
        for item in ask.items:
            if item.shadowed:
                self._shadows.put(item)
            else:
                self._record(item)

    def _degraded(self, item: Prediction) -> None:
        assert item.fallback is not None
        assert item.error is not None
        counts = self.counts.degraded
        counts[item.fallback] = counts.get(item.fallback, 0) + 1
        self.degraded = Degraded(self._clock.now(), item.fallback, message(item.error))

    def _drained(self) -> None:
        """Rows are answered in the order they came: those a drain waits for are recorded, or shadows."""
        while self._drains and self._answered >= self._drains[0][0]:
            _, drained = self._drains.pop(0)
            if not drained.done():
                drained.set_result(None)

    def busy(self) -> float:
        """For how many seconds the model has had its batch; 0 where it has none."""
        return 0.0 if self._began is None else self._clock.monotonic() - self._began

    async def _run(self, work: Callable[[list[Prediction]], None], batch: list[Prediction]) -> None:
        began = self._began = self._clock.monotonic()
        try:
            if self.threaded:
                await asyncio.to_thread(work, batch)
            else:
                work(batch)
        finally:
            self._began = None
        took, self._took = self._took, self._clock.monotonic() - began
        self.threaded = min(took, self._took) > _LONG  # one alone may have met with a pause


def settled(future: asyncio.Future[list[Prediction]], found: list[Prediction] | Exception) -> None:
    """Give a request's rows, or why they were lost, to who awaits them, if he still does."""
    if future.done():
        return
    if isinstance(found, Exception):
        future.set_exception(found)
    else:
        future.set_result(found)
