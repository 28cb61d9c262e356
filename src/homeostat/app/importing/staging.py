"""Points on their way in: put in order and encoded in a temporary file, before the transaction that stores them.

So a run of any length is stored in one short transaction, and memory holds no more than one heap of points.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Final, cast

import msgspec
import numpy as np

from homeostat.app.importing.naming import Names
from homeostat.domain.tracking import Metric, MetricBlock
from homeostat.engine.tracking import rows
from homeostat.engine.tracking.arrays import ROW, Rows
from homeostat.ports.sources import Columns, Missing

_HEAP: Final = 262_144
_BLOCK: Final = 16_384
_IN_MEMORY: Final = 8 << 20


class Staged:
    """Points of one run, ready to be stored. A context manager.

    Args:
        run: The run.
        experiment: Its experiment.
        names: The names for its metrics.
    """

    def __init__(self, run: str, experiment: int, names: Names) -> None:
        self._run, self._experiment, self._names = run, experiment, names
        self._file = cast("IO[bytes]", SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - closed by close()
        self._heap: list[Rows] = []
        self._held = 0
        self._latest: dict[str, Metric] = {}
        self.count = 0
        self.missing: list[Missing] = []

    def take(self, columns: Iterable[Columns]) -> None:
        """Take points, in any order."""
        for given in columns:
            self._heap.append(rows_of(given, self._names, self.missing))
            self._held += len(self._heap[-1].points)
            if self._held >= _HEAP:
                self._write()

    def add(self, given: Rows) -> None:
        """Take points under the names they have here."""
        self._heap.append(given)
        self._held += len(given.points)
        if self._held >= _HEAP:
            self._write()

    def latest(self) -> list[Metric]:
        """The latest point of each metric."""
        self._write()
        return list(self._latest.values())

    def blocks(self, first: int) -> Iterator[MetricBlock]:
        """The blocks to store, numbered from ``first``."""
        self._write()
        self._file.seek(0)
        number = first
        while head := self._file.read(4):
            block = msgspec.msgpack.decode(self._file.read(int.from_bytes(head, "big")), type=MetricBlock)
            yield msgspec.structs.replace(block, seq=number)
            number += 1

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        for heap in rows.joined(self._heap):
            self.count += len(heap.points)
            for metric in rows.latest(self._run, self._experiment, heap):
                other = self._latest.get(metric.key)
                if other is None or _rank(metric) > _rank(other):
                    self._latest[metric.key] = metric
            for part in _parts(heap):
                data = msgspec.msgpack.encode(rows.block(self._run, 0, part))
                self._file.write(len(data).to_bytes(4, "big") + data)
        self._heap, self._held = [], 0


def rows_of(given: Columns, names: Names, missing: list[Missing]) -> Rows:
    """Points under the names they have here, without those at times that cannot be kept."""
    points = np.empty(len(given.key), ROW)
    for field in ("key", "value", "timestamp", "step"):
        points[field] = getattr(given, field)
    early = points["timestamp"] < 0
    if early.any():
        for key in np.unique(points["key"][early]):
            reason = "points of before 1970 are left out"
            missing.append(Missing(f"metric {given.keys[key]}", reason))
        points = points[~early]
    keys = [names.of(key) for key in given.keys]
    return Rows(keys, points)


def _parts(heap: Rows) -> Iterator[Rows]:
    """A heap ordered by key, in parts of few keys each: a metric's history then reads few of them."""
    ranks = np.empty(len(heap.keys), np.int64)
    ranks[sorted(range(len(heap.keys)), key=heap.keys.__getitem__)] = np.arange(len(heap.keys))
    points = heap.points[np.argsort(ranks[heap.points["key"]], kind="stable")]
    for start in range(0, len(points), _BLOCK):
        part = points[start : start + _BLOCK].copy()
        used, numbers = np.unique(part["key"], return_inverse=True)
        part["key"] = numbers
        yield Rows([heap.keys[key] for key in used.tolist()], part)


def _rank(metric: Metric) -> tuple[int, int, bool, float]:
    return metric.step, metric.timestamp, metric.value is not None, metric.value or 0.0
