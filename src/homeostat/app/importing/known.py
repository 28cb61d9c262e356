"""Which points of a run the store has already, so that a second import adds only what is new."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from homeostat.app.container import Container
from homeostat.app.tracking import histories
from homeostat.domain.tracking import Metric
from homeostat.engine.tracking.arrays import Rows

_HELD: Final = 1 << 20  # points of histories kept at hand: 25 MB
_SAME: Final = np.dtype([("timestamp", "<i8"), ("step", "<i8"), ("value", "<i8")])
_NONE: Final = np.empty(0, _SAME)


class Known:
    """The points that a run has in the store.

    Args:
        container: The ports.
        run: The run.
    """

    def __init__(self, container: Container, run: str) -> None:
        self._container, self._run = container, run
        self._keys = dict.fromkeys(
            sorted(metric.key for metric in container.store.find(Metric, ("run", "=", run)))
        )
        self._held: dict[str, npt.NDArray[Any]] = {}

    def new(self, given: Rows) -> Rows:
        """Those of some points that the store lacks."""
        keep = np.zeros(len(given.points), bool)
        for number in np.unique(given.points["key"]).tolist():
            places = np.flatnonzero(given.points["key"] == number)
            points = given.points[places]
            rows = _comparable(points["timestamp"], points["step"], points["value"])
            keep[places[_lacking(self._of(given.keys[number]), rows)]] = True
        return Rows(given.keys, given.points[keep])

    def _of(self, key: str) -> npt.NDArray[Any]:
        if key not in self._held and key in self._keys:
            # Those that come next in order too: most sources have them in that order, and metrics share blocks.
            ahead = [other for other in self._keys if other >= key]
            some, found = next(histories(self._container, self._run, ahead, _HELD))
            self._held = {
                name: _comparable(one.timestamp, one.step, one.value)
                for name, one in zip(some, found, strict=True)
            }
        return self._held.get(key, _NONE)


def _comparable(
    timestamp: npt.NDArray[np.int64], step: npt.NDArray[np.int64], value: npt.NDArray[np.float64]
) -> npt.NDArray[Any]:
    """Points as integers of which equal ones are the same point: one NaN, and one zero."""
    rows = np.empty(len(value), _SAME)
    rows["timestamp"], rows["step"] = timestamp, step
    rows["value"] = np.where(np.isnan(value), np.nan, value + 0.0).view(np.int64)
    return rows


def _lacking(there: npt.NDArray[Any], given: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which rows of ``given`` are not in ``there``."""
    both = np.concatenate([there, given])
    given_too = np.concatenate([np.zeros(len(there), bool), np.ones(len(given), bool)])
    order = np.lexsort((given_too, both["value"], both["step"], both["timestamp"]))
    rows = both[order]
    first = np.ones(len(rows), bool)
    first[1:] = rows[1:] != rows[:-1]
    # A row is there if the first of its equals is one of the store's.
    held = ~given_too[order][np.flatnonzero(first)][np.cumsum(first) - 1]
    lacking = np.empty(len(rows), bool)
    lacking[order] = ~held
    return lacking[len(there) :]
