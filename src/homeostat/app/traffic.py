"""What was asked of a deployment within a time: rows of its prediction log, no more than a look can hold.

Where more were asked, a look takes a sample: one row in two, in four, in eight, drawn by ids, so that a smaller sample
is part of a larger. Shares, means and quantiles of it stand for all; its counts, sums and extremes are its own, and
``one_in`` says of how many rows each is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final, Literal, NamedTuple

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.reading import LARGE, find_dataset, read
from homeostat.domain.contracts import SEQ
from homeostat.domain.records import Window

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
    """The log of a deployment, for those who look at several parts of it.

    Args:
        container: The ports.
        deployment: Whose log.
        which: What holds for all rows that are looked at.
        columns: Those that are wanted, with the ids; all when empty.

    Raises:
        NotFound: nothing was asked of the deployment yet.
    """

    def __init__(
        self, container: Container, deployment: str, *which: pl.Expr, columns: Sequence[str] = ()
    ) -> None:
        name = log_of(deployment)
        rows = read(container, name).filter(*which)
        self._rows = rows.select(columns) if columns else rows
        self._large = find_dataset(container, name).rows > LARGE

    @cached_property
    def columns(self) -> list[str]:
        """Those that there are."""
        return self._which().collect_schema().names()

    def asked(
        self,
        *which: pl.Expr,
        unit: pl.Expr | None = None,
        columns: Sequence[str] = (),
        meeting: Sequence[tuple[str, pl.LazyFrame]] = (),
    ) -> Asked:
        """Rows of the log, or a sample of them.

        Args:
            which: What holds for the rows that are wanted.
            unit: What a sample has whole or not at all; None, or null: a row by itself.
            columns: Those that are wanted; all when empty.
            meeting: Columns with frames that have them: only rows are wanted that meet a row of one of these.
        """
        found = self._which(*which)
        if meeting:
            found = _met(found, meeting)
        one_in = _one_in(self._height(found)) if self._held is None else 1
        if one_in > 1:
            by = _ID if unit is None else pl.coalesce(unit.cast(pl.String), _ID)
            found = found.filter(by.hash() % one_in == 0)
        return Asked((found.select(columns) if columns else found).collect(engine=self._engine), one_in)

    def parts(
        self, *which: pl.Expr, by: pl.Expr = _ID, columns: Sequence[str] = ()
    ) -> Iterator[pl.DataFrame]:
        """All such rows, about as many at a time as a look can hold.

        Args:
            which: What holds for them.
            by: Of which all rows with one value are in one part.
            columns: Those that are wanted; all when empty.
        """
        found = self._which(*which)
        many = _one_in(self._height(found)) if self._held is None else 1
        for part in range(many):
            rows = found.filter(by.hash() % many == part) if many > 1 else found
            yield (rows.select(columns) if columns else rows).collect(engine=self._engine)

    def count(self, *which: pl.Expr) -> int:
        """How many rows there are, all of them."""
        return self._height(self._which(*which))

    def distinct(self, columns: Sequence[str], *which: pl.Expr) -> int:
        """How many rows differ in ``columns``, all of them."""
        contents = self._which(*which).select(pl.struct(columns).hash().n_unique())
        return int(contents.collect(engine=self._engine).item())

    def begins(self, *which: pl.Expr) -> int | None:
        """The first batch that has such rows."""
        found = self._which(*which).select(pl.col(SEQ).min()).collect(engine=self._engine).item()
        return int(found) if isinstance(found, int) else None

    def _which(self, *which: pl.Expr) -> pl.LazyFrame:
        rows = self._rows if self._held is None else self._held.lazy()
        return rows.filter(*which) if which else rows

    def _height(self, rows: pl.LazyFrame) -> int:
        return int(rows.select(pl.len()).collect(engine=self._engine).item())

    @property
    def _engine(self) -> Literal["auto", "streaming"]:
        return "streaming" if self._held is None else "auto"

    @cached_property
    def _held(self) -> pl.DataFrame | None:
        """All of it, where that is few enough."""
        if self._large and self._rows.select(pl.len()).collect(engine="streaming").item() > LARGE:
            return None
        return self._rows.collect(engine="streaming" if self._large else "auto")


def _met(rows: pl.LazyFrame, meeting: Sequence[tuple[str, pl.LazyFrame]]) -> pl.LazyFrame:
    parts = []
    for on, frame in meeting:
        wanted = frame.select(on).unique()
        parts.append(rows.join(wanted, on=on, how="semi", maintain_order="left"))
        rows = rows.join(wanted, on=on, how="anti", maintain_order="left")
    return pl.concat(parts)


def _one_in(height: int) -> int:
    one_in = 1
    while height > one_in * LARGE:
        one_in *= 2
    return one_in
