"""What was asked of a deployment within a time: rows of its prediction log, no more than a look can hold.

Where more were asked, a look takes a sample: one row in two, in four, in eight, drawn by ids, so that a smaller sample
is part of a larger. Shares, means and quantiles of it stand for all; its counts, sums and extremes are its own, and
``one_in`` says of how many rows each is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Final, NamedTuple

import msgspec
import polars as pl

from homeostat.app.answers import column_of
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.reading import find_dataset, read
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Ranking, Task
from homeostat.domain.records import Window

MOST: Final = 500_000
_ID: Final = pl.col("prediction_id")


class Asked(NamedTuple):
    """Rows of the log, each of which stands for ``one_in``; 1: they are all there are."""

    rows: pl.DataFrame
    one_in: int = 1

    def told(self, windows: Sequence[Window]) -> list[Window]:
        """Windows of what was judged, which say where that is a sample."""
        if self.one_in == 1:
            return list(windows)
        return [msgspec.structs.replace(one, detail=one.detail | {"one_in": self.one_in}) for one in windows]


def of_those_asked(one_in: int) -> str:
    """What follows a count of requests in a sentence."""
    return f", one in {one_in} of those asked," if one_in > 1 else ""


class Traffic:
    """The log of a deployment, for those who look at several times of it.

    Args:
        container: The ports.
        deployment: Whose log.
        since: Rows after it are looked at; None: all.
        task: What is judged, where that is known: a sample of a ranking has queries whole.
        columns: Those that are wanted, with the ids; all when empty.

    Raises:
        NotFound: nothing was asked of the deployment yet.
    """

    def __init__(
        self,
        container: Container,
        deployment: str,
        *,
        since: datetime | None = None,
        task: Task | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        name = log_of(deployment)
        rows = read(container, name)
        within = rows if since is None else rows.filter(pl.col("at") > since)
        self._rows = within.select(columns) if columns else within
        self._large = find_dataset(container, name).rows > MOST
        self._task = task

    @cached_property
    def columns(self) -> list[str]:
        """Those that the log has."""
        return self._rows.collect_schema().names() if self._held is None else self._held.columns

    def asked(self, *which: pl.Expr, unit: pl.Expr | None = None, columns: Sequence[str] = ()) -> Asked:
        """Rows of the log, or a sample of them.

        Args:
            which: What holds for the rows that are wanted.
            unit: What a sample has whole or not at all, where that is not what the task judges together; rows that
                have none are drawn by themselves.
            columns: Those that are wanted; all when empty.
        """
        if self._held is not None:
            rows = self._held.filter(*which) if which else self._held
            return Asked(rows.select(columns) if columns else rows)
        found = self._rows.filter(*which)
        one_in = _one_in(self.count(*which))
        if one_in > 1:
            found = found.filter(_drawn(self._together() if unit is None else unit, one_in))
        return Asked((found.select(columns) if columns else found).collect(engine="streaming"), one_in)

    def parts(self, *which: pl.Expr) -> Iterator[pl.DataFrame]:
        """All such rows, as many at a time as a look can hold."""
        if self._held is not None:
            yield self._held.filter(*which)
            return
        one_in = _one_in(self.count(*which))
        for part in range(one_in):
            yield self._rows.filter(*which, _ID.hash() % one_in == part).collect(engine="streaming")

    def count(self, *which: pl.Expr) -> int:
        """How many rows there are, all of them."""
        if self._held is not None:
            return self._held.filter(*which).height
        return int(self._rows.filter(*which).select(pl.len()).collect(engine="streaming").item())

    def distinct(self, columns: Sequence[str], *which: pl.Expr) -> int:
        """How many rows differ in ``columns``, of many about: those are counted whose contents are drawn."""
        if self._held is not None:
            return self._held.filter(*which).select(columns).n_unique()
        contents = pl.struct(columns).hash()
        one_in = _one_in(self.count(*which))
        of = (
            self._rows.filter(*which)
            .select(contents.alias("content"))
            .filter(pl.col("content") % one_in == 0)
        )
        return int(of.select(pl.col("content").n_unique()).collect(engine="streaming").item()) * one_in

    def begins(self, *which: pl.Expr) -> int | None:
        """The first batch that has such rows."""
        if self._held is not None:
            found = self._held.filter(*which)[SEQ].min()
        else:
            found = self._rows.filter(*which).select(pl.col(SEQ).min()).collect(engine="streaming").item()
        return int(found) if isinstance(found, int) else None

    def _together(self) -> pl.Expr | None:
        return column_of(self.columns, self._task.query) if isinstance(self._task, Ranking) else None

    @cached_property
    def _held(self) -> pl.DataFrame | None:
        """All of it, where that is few enough."""
        if self._large and self._rows.select(pl.len()).collect(engine="streaming").item() > MOST:
            return None
        return self._rows.collect()


def _one_in(height: int) -> int:
    one_in = 1
    while height > one_in * MOST:
        one_in *= 2
    return one_in


def _drawn(unit: pl.Expr | None, one_in: int) -> pl.Expr:
    by = _ID if unit is None else pl.coalesce(unit.cast(pl.String), _ID)
    return by.hash() % one_in == 0
