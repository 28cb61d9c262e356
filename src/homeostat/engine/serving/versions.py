"""Versions of models that are loaded and warm: each once for all who wait for it, few at a time, the last few kept.

Belongs to one event loop, and loads in threads of its own: no model waits for them to answer. A load that has begun
goes on to its end, whoever still waits; one that has not and that nobody waits for any more does not begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from homeostat.domain.contracts import attribute
from homeostat.domain.errors import NotFound
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.scorer import Loaded, attempt
from homeostat.ports.clock import Clock

Key = tuple[str, int]

_AT_ONCE: Final = 3  # each may need the memory of its model several times over
_SPARE: Final = 4
_WARM_UPS: Final = 3


class _Going:
    """A load that is not over: who waits for it, and whether it has begun."""

    __slots__ = ("begun", "task", "waiting")

    def __init__(self) -> None:
        self.task: asyncio.Task[Loaded]
        self.waiting = 0
        self.begun = False


class Versions:
    """Loaded versions by model and number.

    Args:
        load: Loads one, checked; may raise anything.
        clock: World time.
    """

    def __init__(self, load: Callable[[str, int], Loaded], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._loaded: dict[Key, Loaded] = {}
        self._going: dict[Key, _Going] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="load")

    async def get(self, model: str, version: int) -> Loaded:
        """A version, loaded now where it is not; raises what loading it raises."""
        key = model, version
        loaded = self._loaded.pop(key, None)
        if loaded is not None:
            self._loaded[key] = loaded  # the last used stands last
            return loaded
        going = self._going.get(key)
        if going is None:
            going = self._going[key] = _Going()
            going.task = asyncio.create_task(self._bring(key, going))
        going.waiting += 1
        try:
            return await asyncio.shield(going.task)
        finally:
            going.waiting -= 1
            if not going.waiting and not going.begun:
                del self._going[key]
                going.task.cancel()

    async def _bring(self, key: Key, going: _Going) -> Loaded:
        async with self._slots:
            going.begun = True
            try:
                loaded = await asyncio.get_running_loop().run_in_executor(self._pool, self._warmed, *key)
            finally:
                del self._going[key]
        self._loaded[key] = loaded
        return loaded

    def _warmed(self, model: str, version: int) -> Loaded:
        loaded = self._load(model, version)
        if not loaded.example:
            raise NotFound(f"model/{model}@{version} holds no example request", remedy="Train it again")
        row = RequestReader(loaded.columns, whole=loaded.whole).convert(loaded.example)
        time = (getattr(row, attribute(loaded.time)) if loaded.time else None) or self._clock.now()
        for _ in range(_WARM_UPS):
            (outcome,) = attempt(loaded.scorer, [row], [time])
            if isinstance(outcome, Exception):
                raise outcome
        return loaded

    def forget(self, used: Set[Key]) -> None:
        """Drop versions that are not used, but for the last few: a rollback returns to one of them."""
        spare = [key for key in self._loaded if key not in used]
        for key in spare[:-_SPARE]:
            del self._loaded[key]

    def close(self) -> None:
        """Begin no load any more; what those that go on bring is nobody's."""
        for going in self._going.values():
            going.task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
