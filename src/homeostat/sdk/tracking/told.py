"""How a value that is no number is kept: a small JSON file with its type, and maybe a file of its own kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Told:
    """A value as it is kept.

    Args:
        type: What it is.
        detail: What a page shows.
        suffix: The kind of the second file, as ``.png``; empty: there is none.
        content: The bytes of that file.
    """

    type: str
    detail: dict[str, Any]
    suffix: str = ""
    content: bytes = b""


class Value(Protocol):
    """What can tell itself."""

    def told(self) -> Told:
        """The value as it is kept."""


def array_of(data: Any) -> npt.NDArray[Any]:
    """What an array library holds, or a sequence, as NumPy's array."""
    import numpy as np

    for name in ("detach", "cpu"):  # a tensor of PyTorch, maybe on a GPU
        if hasattr(data, name):
            data = getattr(data, name)()
    return np.asarray(data)


def plain(cell: Any) -> Any:
    """A cell as JSON holds it."""
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else str(cell)
    return cell if cell is None or isinstance(cell, (bool, int, str)) else str(cell)
