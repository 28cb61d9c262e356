"""Points that come one by one, gathered into columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from homeostat.ports.sources import Columns

_POINTS = 65_536


def gathered(points: Iterable[tuple[str, float, int, int]]) -> Iterator[Columns]:
    """Points of key, value, timestamp and step as columns of many."""
    number: dict[str, int] = {}
    held: list[tuple[int, float, int, int]] = []
    for key, value, timestamp, step in points:
        held.append((number.setdefault(key, len(number)), value, timestamp, step))
        if len(held) == _POINTS:
            yield _columns(number, held)
            number, held = {}, []
    if held:
        yield _columns(number, held)


def _columns(number: dict[str, int], held: list[tuple[int, float, int, int]]) -> Columns:
    key, value, timestamp, step = zip(*held, strict=True)
    return Columns(
        list(number),
        np.array(key, np.uint16),
        np.array(value, np.float64),
        np.array(timestamp, np.int64),
        np.array(step, np.int64),
    )
