"""Datasets: tables with keys, an event time and a contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

import msgspec

from homeostat.domain.contracts import Column, Contract, columns_of
from homeostat.domain.declarations.base import Declaration
from homeostat.domain.durations import parse_duration


@dataclass(frozen=True)
class Dataset(Declaration):
    """A table that grows.

    Args:
        name: Its name, as in ``dataset/flights``.
        key: The column or columns that identify a row.
        time: The column (datetime, UTC) at which a row happened or became known; rows without one are reference
            data and count as always known.
        contract: The columns and the values they may hold; inferred from the first rows when left out.
        every: How often the source delivers. A row is visible to features from the first delivery at or after
            its time: with ``"1h"`` a row of 10:23 counts from 11:00 on, in training and in serving alike. Training
            takes it that rows came when they were due; what came later than that was not there to be served.
        path: A CSV or Parquet file, relative to the project, that ``homeostat apply`` ingests.
    """

    kind: ClassVar[str] = "dataset"

    key: str | tuple[str, ...] | list[str] = ()
    time: str | None = None
    contract: type[Contract] | None = None
    every: str | timedelta | None = None
    path: str | None = None

    def check(self) -> None:
        """Raise a DeclarationError for a key or time that the contract lacks, or a wrong type."""
        self.expect("key", self.key, (str, tuple, list), '"flight" or ["origin", "observed_at"]')
        object.__setattr__(self, "key", (self.key,) if isinstance(self.key, str) else tuple(self.key))
        if not self.key:
            raise self.error("has no key", 'Name the column that identifies a row, as in key="id"')
        given: Any = self.contract
        if given is not None and not (isinstance(given, type) and issubclass(given, Contract)):
            raise self.error(f"contract is {self.contract!r}", "Give a class that derives from hs.Contract")
        if self.every is not None:
            object.__setattr__(self, "every", parse_duration(self.every))
        known = {column.name: column for column in self.columns or ()}
        for name in (*self.keys, *([self.time] if self.time else [])):
            if known and name not in known:
                raise self.error(
                    f"column {name!r} is not in its contract", f"Add it, or use one of {sorted(known)}"
                )
        if self.time and known and known[self.time].type != "datetime":
            raise self.error(
                f"time column {self.time!r} is a {known[self.time].type}", "Declare it as a datetime"
            )
        if self.every is not None and self.time is None:
            raise self.error("every needs a time column", 'Name it, as in time="landed_at"')

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns."""
        return tuple(self.key)

    @property
    def cadence(self) -> timedelta | None:
        """``every`` as a timedelta."""
        return parse_duration(self.every) if self.every is not None else None

    @cached_property
    def columns(self) -> tuple[Column, ...] | None:
        """The declared columns, None where they are to be inferred.

        Read when the dataset is declared: later, the module that the contract's annotations name may be gone.
        """
        return columns_of(self.contract) if self.contract is not None else None

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        cadence = self.cadence
        return {
            "key": list(self.keys),
            "time": self.time,
            "every": cadence.total_seconds() if cadence else None,
            "path": self.path,
            "columns": msgspec.to_builtins(self.columns) if self.columns else None,
        }
