"""A value that a column may hold, where nothing is known but its contract: what a model is first asked with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from math import ceil, floor
from typing import Any, Final

from homeostat.domain.contracts import Column

_EMPTY: Final[Mapping[str, Any]] = {
    "string": "",
    "boolean": False,
    "datetime": datetime(1970, 1, 1, tzinfo=UTC),
}


def blank(column: Column) -> Any:
    """A value that the column may hold; of a text with a pattern, what only the model's own example can say."""
    if column.choices:
        return column.choices[0]
    if column.type in ("integer", "float"):
        return next((one for one in _numbers(column) if _inside(column, one)), 0)
    return _EMPTY[column.type]


def _numbers(column: Column) -> Iterator[float]:
    """Numbers of which one lies within the bounds, where any does: 0, then those at the bounds, between and beyond."""
    ends = sorted(end for end in (column.ge, column.gt, column.le, column.lt) if end is not None)
    if column.type == "integer":
        yield 0
        for end in ends:
            yield from (ceil(end), floor(end), floor(end) + 1, ceil(end) - 1)
        return
    yield from (0.0, *ends)
    yield from (one / 2 + other / 2 for one, other in pairwise(ends))
    for end in ends:
        yield from (end + abs(end) + 1, end - abs(end) - 1)


def _inside(column: Column, value: float) -> bool:
    return (
        (column.ge is None or value >= column.ge)
        and (column.gt is None or value > column.gt)
        and (column.le is None or value <= column.le)
        and (column.lt is None or value < column.lt)
    )
