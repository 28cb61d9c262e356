"""Business metrics: what answers are worth, as rows of a dataset say it later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from homeostat.domain.declarations.data import Dataset
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError

PREDICTION: str = "prediction_id"


@dataclass(frozen=True)
class BusinessMetric:
    """A value that comes after an answer, as revenue, joined to the version that gave it.

    Args:
        source: The dataset whose rows hold it. Rows meet requests by the request's key, or by the id of the prediction
            where it has a column ``prediction_id``. Several rows of a request add up; of several requests of one key
            the newest before a row counts.
        column: The column with the value, a number or a boolean.
        name: What it is called; by default as the column.
        window: Over which newest requests.
        empty: What a request counts as that has no row so far, as ``0.0``; None: it does not count.
    """

    source: Dataset
    column: str
    name: str = ""
    window: str = "30d"
    empty: float | None = None

    def __post_init__(self) -> None:
        parse_duration(self.window)
        given: Any = self.source
        if not isinstance(given, Dataset):
            raise DeclarationError(
                f"hs.BusinessMetric(source={given!r}) is no dataset", remedy="Give one, as source=orders"
            )
        known = {column.name: column.type for column in given.columns or ()}
        if known and known.get(self.column) not in ("integer", "float", "boolean"):
            raise DeclarationError(
                f"hs.BusinessMetric(column={self.column!r}) is no number of dataset {given.name!r}",
                remedy="Name a column of numbers or booleans",
            )
        object.__setattr__(self, "name", self.name or self.column)

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return {
            "name": self.name,
            "source": self.source.name,
            "column": self.column,
            "window": self.window,
            "empty": self.empty,
        }
