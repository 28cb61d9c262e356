"""The points of metrics as people draw them: each with its place on the metric's axis."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from homeostat.app.container import Container
from homeostat.app.tracking.reading import histories, history, run_data
from homeostat.app.tracking.runs import run
from homeostat.domain.numbers import Number, plain
from homeostat.engine.tracking import axes
from homeostat.engine.tracking.points import History

_HELD: Final = 1 << 18  # points in a heap, which is some ten megabytes of JSON


class Points(msgspec.Struct, frozen=True):
    """The points of a metric, columns of equal length; None stands for NaN.

    Args:
        timestamp: Milliseconds since 1970.
        step: The step.
        value: The metric's value.
        axis: Against what it is drawn: ``step``, ``time``, or the name of another metric.
        at: Where each point lies on that axis; None: before the axis' first value.
    """

    timestamp: list[int]
    step: list[int]
    value: list[Number]
    axis: str = axes.STEP
    at: list[Number] = []


class Heap(msgspec.Struct, frozen=True):
    """The points of some metrics of a run, by the metrics' names in their order.

    Args:
        metrics: The points.
        last: The last of the names, after which more may follow; empty: none does.
    """

    metrics: dict[str, Points]
    last: str = ""


def points(container: Container, id: str, key: str, axis: str = "") -> Points:
    """All points of a metric of a run, in order of (timestamp, step, value).

    Args:
        container: The ports.
        id: The run's id.
        key: The metric's name.
        axis: ``step``, ``time`` or the name of a metric of the run; empty: as the run says.

    Raises:
        NotFound: there is no such run.
    """
    found = history(container, id, key)
    axis = axis or axes.axis_of(run_data(container, [id])[id].tags, key)
    return _drawn(found, axis, lambda other: history(container, id, other))


def all_points(container: Container, id: str, after: str = "") -> Heap:
    """The points of the metrics of a run, as ``points`` has them: as many metrics as fit into one answer.

    Args:
        container: The ports.
        id: The run's id.
        after: The metric after whose name to begin; empty: with the first.

    Raises:
        NotFound: there is no such run.
    """
    run(container, id)
    data = run_data(container, [id])[id]
    keys = sorted(one.key for one in data.metrics if one.key > after)
    some, found = next(histories(container, id, keys, _HELD), ([], []))
    axis_named = cache(lambda other: history(container, id, other))
    drawn = {
        key: _drawn(one, axes.axis_of(data.tags, key), axis_named)
        for key, one in zip(some, found, strict=True)
    }
    return Heap(drawn, some[-1] if len(some) < len(keys) else "")


def _drawn(found: History, axis: str, named: Callable[[str], History]) -> Points:
    at: list[float | None]
    if axis == axes.STEP:
        at = found.step.tolist()
    elif axis == axes.TIME:
        at = found.timestamp.tolist()
    else:
        at = _plain(axes.positions(found, named(axis)))
    return Points(found.timestamp.tolist(), found.step.tolist(), _plain(found.value), axis, at)


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    numbers: list[float] = values.tolist()
    return list(numbers) if np.isfinite(values).all() else [plain(value) for value in numbers]
