"""The world of one policy: a store of its own, a clock that is set, jobs that are done at once.

Every use case of the loop runs on it as it runs on a live store. Time stands still while something is done: a training
takes none of it, and what the machine needed is told by the clock beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from homeostat.adapters.clock import ManualClock
from homeostat.adapters.tables import ArrowTables
from homeostat.app.backtest.memory import Memory, RememberedFeatures
from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.domain.declarations import Task, View
from homeostat.domain.records import ModelVersion
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.registry.package import Package
from homeostat.ports.executor import JobState

_log = logging.getLogger(__name__)

_PACKAGES: Final = 4  # that are remembered
Job = Callable[[Sequence[str]], None]


class Store(Container):
    """What a policy's folder holds: a store of its own, whose tables nobody else reads.

    Args:
        home: Its folder.
        blobs: The folder of blobs that all policies share: what they hold is told by its content.
    """

    def __init__(self, home: Path, blobs: Path) -> None:
        super().__init__(Settings(home=home, blobs=str(blobs)))
        self.tables = ArrowTables(home / "tables")


class World(Store):
    """The ports of one policy while it is replayed.

    Args:
        home: Its folder.
        blobs: The folder of blobs that all policies share: what they hold is told by its content.
        now: What its clock shows.
        memory: What is known of the history that happens in it.
    """

    def __init__(self, home: Path, blobs: Path, now: datetime, memory: Memory) -> None:
        super().__init__(home, blobs)
        self.time = ManualClock(now)
        self.jobs = AtOnce()
        self._memory = memory
        self._packages: dict[tuple[str, ...], Package] = {}
        self.clock = self.time
        self.executor = self.jobs
        self.online = Nowhere()

    def features(self, views: Sequence[View], task: Task, schemas: Mapping[str, pl.Schema]) -> FeatureSet:
        """The features of a model, remembered over all requests of history."""
        return RememberedFeatures((views, task.request, schemas, [task.label], task.aside), self._memory)

    def package(self, version: ModelVersion, trusted: Sequence[str]) -> Package:
        """The package of a version: a candidate is judged, serves, and is what the next is compared with."""
        key = (version.digest, *trusted)
        found = self._packages.pop(key, None) or super().package(version, trusted)
        self._packages[key] = found
        if len(self._packages) > _PACKAGES:
            del self._packages[next(iter(self._packages))]
        return found


class AtOnce:
    """An executor whose jobs have ended when they are submitted."""

    def __init__(self) -> None:
        self.run: Job = _refuse
        self._ended: dict[str, JobState] = {}

    def submit(self, name: str, arguments: Sequence[str]) -> None:
        """Do the job. One that fails is told as failed, as that of a process would be."""
        try:
            self.run(arguments)
        except Exception:  # noqa: BLE001 - it may be the project's own code that fails; its run says how
            _log.exception("job %s failed", name)
            self._ended[name] = "failed"
        else:
            self._ended[name] = "succeeded"

    def states(self) -> dict[str, JobState]:
        """How each job ended, told once."""
        ended, self._ended = self._ended, {}
        return ended

    def cancel(self, name: str) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing runs."""


class Nowhere:
    """An online store that is level with everything and holds nothing: features come from history."""

    def position(self, view: str) -> int:
        """Past every batch."""
        return 1 << 62

    def write(self, view: str, entries: Mapping[bytes, bytes], position: int) -> None:
        """Keep nothing."""

    def read(self, keys: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """None of them."""
        return [None] * len(keys)

    def clear(self, view: str) -> None:
        """There is nothing."""

    def close(self) -> None:
        """There is nothing."""


def _refuse(arguments: Sequence[str]) -> None:
    raise AssertionError(f"nobody does {' '.join(arguments)}")
