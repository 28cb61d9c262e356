"""Points of metrics as they are given, one by one, and as they are read, a history at a time.

It is part of a server's start, for which NumPy is a tenth: what works on arrays of points is in ``arrays``, ``blocks``,
``rows`` and ``sampling``, and imported once there are points.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SMALL: Final = 128
"""Points to which a block may grow by a few: their rows fit into one page of SQLite."""

_NUMBERS: Final = Struct("<dqq")  # of a row what follows the key


class Point(msgspec.Struct, frozen=True, gc=False):
    """One value of a metric.

    Args:
        key: The metric's name.
        value: A float; NaN and the infinities too.
        timestamp: Milliseconds since 1970.
        step: Where on the run's axis it was measured.
        model: The logged model that it is about; empty: none.
        dataset: The name of the dataset that it was measured on; empty: none is named.
        digest: That dataset's digest.
    """

    key: str
    value: float
    timestamp: int
    step: int = 0
    model: str = ""
    dataset: str = ""
    digest: str = ""


class History(NamedTuple):
    """The points of a metric in order of (timestamp, step, value), NaN last, no two the same; columns of shape (n,)."""

    timestamp: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.value)


def row_of(point: Point) -> bytes:
    """A point as rows hold it, without the number of its key."""
    return _NUMBERS.pack(point.value, point.timestamp, point.step)
