"""What a deployment falls back on: features as they were last read, and an answer that is declared.

A model server remembers what it reads of the online store once a deployment asks for it: the newest
100,000 entries, one for each view of each entity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from homeostat.app.container import Container
from homeostat.domain.declarations.fallback import Fallback
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import NotFound, StoreUnavailable
from homeostat.engine.serving.fallbacks import Constant
from homeostat.engine.serving.predictions import PROBABILITIES
from homeostat.engine.serving.scorer import Scorer
from homeostat.ports.clock import Clock
from homeostat.ports.online import OnlineStore

LABEL: Final = "label"
_MOST: Final = 100_000
_AWAY: Final = 1.0

Key = tuple[str, bytes]


class Remembering:
    """An online store of which the last reads are kept. Safe for threads.

    While they are kept, a store that did not answer is left alone for a second: waiting for it once more would take
    longer than its callers have.

    Args:
        store: The store.
        clock: For how old what was read is.
        most: The most entries that are kept.
    """

    def __init__(self, store: OnlineStore, clock: Clock, *, most: int = _MOST) -> None:
        self._store, self._clock, self._most = store, clock, most
        self._kept: dict[Key, tuple[datetime, bytes | None]] = {}
        self._keeping = False
        self._lock = Lock()
        self._away: tuple[float, StoreUnavailable] | None = None
        self.position, self.write, self.clear = store.position, store.write, store.clear
        self.close = store.close

    def read(self, keys: Sequence[Key]) -> list[bytes | None]:
        """As the store.

        Raises:
            StoreUnavailable: it does not answer, or did not a moment ago.
        """
        if not self._keeping:
            return self._store.read(keys)
        away = self._away
        if away is not None and self._clock.monotonic() < away[0]:
            # Another each time: one that is raised again and again grows a longer traceback each time.
            raise StoreUnavailable(away[1].message, remedy=away[1].remedy) from None
        now = self._clock.now()
        try:
            found = self._store.read(keys)
        except StoreUnavailable as error:
            self._away = (self._clock.monotonic() + _AWAY, error)
            raise
        self._away = None
        with self._lock:
            for key, value in zip(keys, found, strict=True):
                self._kept.pop(key, None)
                self._kept[key] = (now, value)  # the last read stands last
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return found

    def recalling(self, age: timedelta) -> Recalling:
        """What was read at most so long ago, as a store; from now on it is kept."""
        self._keeping = True
        return Recalling(self, age)

    def recall(self, keys: Sequence[Key], age: timedelta) -> list[bytes | None]:
        """What was last read of these.

        Raises:
            NotFound: one was last read longer ago than ``age``, or not at all.
        """
        oldest = self._clock.now() - age
        with self._lock:
            found = [self._kept.get(key) for key in keys]
        for key, one in zip(keys, found, strict=True):
            if one is None or one[0] < oldest:
                raise NotFound(f"nothing is remembered of {key[1].decode(errors='replace')} in {key[0]}")
        return [one[1] for one in found if one is not None]


class Recalling:
    """An online store that reads what another remembers."""

    def __init__(self, store: Remembering, age: timedelta) -> None:
        self._store, self._age = store, age
        self.position, self.write, self.clear = store.position, store.write, store.clear
        self.close = store.close

    def read(self, keys: Sequence[Key]) -> list[bytes | None]:
        """As ``Remembering.recall``."""
        return self._store.recall(keys, self._age)


_REMEMBERING: Final[WeakKeyDictionary[Container, Remembering]] = WeakKeyDictionary()


def remembering(container: Container) -> Remembering:
    """The online store of a process, for all versions that it serves: they ask it for the same entities."""
    found = _REMEMBERING.get(container)
    if found is None:
        found = _REMEMBERING.setdefault(container, Remembering(container.online, container.clock))
    return found


def fallbacks(
    declared: Fallback, classes: Sequence[Any], recalled: Callable[[timedelta], Scorer] | None
) -> Mapping[str, Scorer]:
    """What answers in place of a version, by kind.

    Args:
        declared: What its deployment falls back on.
        classes: The classes of its task; empty where the answer is a number.
        recalled: The version with features of at most such an age; None where it stores none, or is not there.
    """
    found: dict[str, Scorer] = {}
    if declared.features is not None and recalled is not None:
        found["features"] = recalled(parse_duration(declared.features))
    answer = declared.answer
    # What is declared is of the task as it is now; a version that is served may be of one before.
    if isinstance(answer, Sequence) and len(answer) == len(classes):
        given = np.array(answer, dtype=np.float64)
        outputs = {LABEL: classes[int(given.argmax())], PROBABILITIES: given}
        found["answer"] = Constant(float(given.max()), outputs)
    elif answer is not None and not isinstance(answer, Sequence) and not classes:
        found["answer"] = Constant(float(answer), {})
    return found
