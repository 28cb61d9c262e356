"""Scoring requests once more, for comparison, where no answer waits for it.

Shadows run in a thread of their own, once some have gathered, when nothing waits to be answered or many of them wait:
a call for each few rows would cost more than the answers do, and each disturbs them. However slow one is, and
whatever it raises, answers go out as before: what it is too slow for is recorded without its score, and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from homeostat.engine.serving.predictions import Prediction, shadow

_BATCH: Final = 512
_MOST: Final = 16 * _BATCH
_PAUSE: Final = 0.005
_GATHERED: Final = 64
_GATHERING: Final = 20  # pauses at most until they are scored, few as they may be
_PAUSES: Final = 40  # then shadows take their turn though requests wait: the log waits for them
_PATIENCE: Final = 2.0

_log = logging.getLogger(__name__)


class ShadowCounts(Protocol):
    """What became of rows that were to be scored once more: scored, or recorded without."""

    shadows: int
    shadows_dropped: int


class ShadowLane:
    """The shadows of one endpoint, in the event loop that made it.

    Args:
        record: Takes each prediction once its shadow is decided.
        busy: Whether requests wait to be answered.
        counts: Where to count.
        most: The most predictions that wait; what comes beyond is recorded without its shadow.
    """

    def __init__(
        self,
        record: Callable[[Prediction], None],
        busy: Callable[[], bool],
        counts: ShadowCounts,
        *,
        most: int = _MOST,
    ) -> None:
        self._record, self._busy, self._counts, self._most = record, busy, counts, most
        self._waiting: deque[Prediction] = deque()
        self._running: list[Prediction] = []
        self._urgent = False
        self._arrived, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._task = asyncio.get_running_loop().create_task(self._work())

    def put(self, item: Prediction) -> None:
        """Have a prediction scored by its shadow too, then recorded."""
        if len(self._waiting) >= self._most:
            self._counts.shadows_dropped += 1
            self._record(item)
            return
        self._waiting.append(item)
        self._idle.clear()
        self._arrived.set()

    async def drain(self, seconds: float = _PATIENCE) -> bool:
        """Wait until nothing waits; says whether that came in time."""
        self._urgent = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._urgent = False
        return True

    async def close(self) -> None:
        """Finish what waits, or record it as it is where a shadow takes too long."""
        await self.drain()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for item in (*self._running, *self._waiting):
            self._counts.shadows_dropped += 1
            self._record(item)
        self._waiting.clear()
        self._idle.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _waits(self, pauses: int) -> bool:
        """Whether shadows are better left alone for another pause, after so many."""
        waiting = len(self._waiting)
        gathering = waiting < _GATHERED and pauses < _GATHERING
        return not self._urgent and (gathering or (waiting < _BATCH and pauses < _PAUSES and self._busy()))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        pauses = 0
        while True:
            if not self._waiting:
                self._idle.set()
                self._arrived.clear()
                await self._arrived.wait()
            elif self._waits(pauses):
                pauses += 1
                await asyncio.sleep(_PAUSE)
            else:
                pauses = 0
                count = min(len(self._waiting), _BATCH)
                self._running = [self._waiting.popleft() for _ in range(count)]
                try:
                    await loop.run_in_executor(self._thread, shadow, self._running)
                    self._counts.shadows += count
                except Exception:  # noqa: BLE001 - not the model's (shadow keeps those): the lane must outlive it
                    self._counts.shadows_dropped += count
                    _log.exception("shadows lost")
                done, self._running = self._running, []
                for item in done:
                    self._record(item)
