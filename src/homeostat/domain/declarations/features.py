"""Entities and feature views: one definition of a feature, for training and for serving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

from homeostat.domain.declarations.base import Declaration
from homeostat.domain.declarations.code import code_digest
from homeostat.domain.declarations.data import Dataset
from homeostat.domain.digests import digest_of
from homeostat.domain.durations import format_duration, parse_duration

Transform = Callable[[Any], Any]
Aggregate = Literal["mean", "sum", "count"]


@dataclass(frozen=True)
class Entity(Declaration):
    """A thing that features are about, found by the column ``key`` (default: its name)."""

    kind: ClassVar[str] = "entity"

    key: str = ""

    def check(self) -> None:
        """Fill in the default key."""
        self.expect("key", self.key, str, '"tailnum"')
        object.__setattr__(self, "key", self.key or self.name)

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return {"key": self.key}


@dataclass(frozen=True)
class View(Declaration):
    """What all feature views share. Columns are named ``view.column``."""

    kind: ClassVar[str] = "feature-view"

    @cached_property
    def digest(self) -> str:
        """What identifies this definition: views of equal digests compute the same."""
        return digest_of(self.spec())


class _Computed:
    """What views have that a function computes."""

    transform: Transform

    @cached_property
    def code(self) -> str:
        """The digest of what the function does; it is asked for when the project is loaded, before anything has run."""
        return code_digest(self.transform)


@dataclass(frozen=True)
class _Stored(View):
    entity: Entity = cast("Entity", None)
    source: Dataset = cast("Dataset", None)

    def check(self) -> None:
        self.expect("entity", self.entity, Entity, 'hs.Entity("carrier")')
        self.expect("source", self.source, Dataset, 'hs.Dataset("landings", …)')
        columns = self.source.columns
        if columns and self.entity.key not in {column.name for column in columns}:
            raise self.error(
                f"entity key {self.entity.key!r} is no column of dataset {self.source.name!r}",
                "Add the column to the contract, or give the entity another key",
            )

    def spec(self) -> dict[str, Any]:
        """Of whom this tells and from which rows; their keys, times and cadence decide which row counts when."""
        cadence = self.source.cadence
        return {
            "entity": self.entity.key,
            "source": self.source.name,
            "key": list(self.source.keys),
            "time": self.source.time,
            "every": cadence.total_seconds() if cadence else None,
        }


@dataclass(frozen=True)
class FeatureView(_Computed, _Stored):
    """The latest row of an entity, as ``transform`` sees it.

    Args:
        ttl: How long a row counts; older than that, its features are missing. None: for ever.
        transform: From a ``polars.LazyFrame`` of the source to one with the feature columns, row by row: the
            same number of rows in the same order.
        age: Also give ``view.age_hours``, the hours since the row's time.
    """

    ttl: str | timedelta | None = None
    transform: Transform = field(default=cast("Transform", None), compare=False)
    age: bool = False

    def check(self) -> None:
        """Raise a DeclarationError for a wrong entity, source, ttl or transform."""
        super().check()
        if self.ttl is not None:
            object.__setattr__(self, "ttl", parse_duration(self.ttl))
        if not callable(self.transform):
            raise self.error(
                "has no transform", "Decorate a function of one LazyFrame with @hs.feature_view(…)"
            )

    @property
    def lifetime(self) -> timedelta | None:
        """``ttl`` as a timedelta."""
        return parse_duration(self.ttl) if self.ttl is not None else None

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        lifetime = self.lifetime
        return super().spec() | {
            "type": "latest",
            "ttl": lifetime.total_seconds() if lifetime else None,
            "age": self.age,
            "transform": self.code,
        }


@dataclass(frozen=True)
class Windows(_Stored):
    """Aggregates over the rows of an entity in the time before the prediction.

    Args:
        column: The numeric or boolean column that is aggregated; nulls do not count. Not needed for a count of rows.
        aggregates: Any of ``mean``, ``sum``, ``count``.
        over: The windows. Columns are named ``view.mean_7d``. A window ends at the prediction's time and starts
            at the ``tile`` boundary at or before (time - window).
        tile: The grain of a window's start; by default the source's ``every``, else 1/24 of the shortest window.
    """

    column: str | None = None
    aggregates: tuple[Aggregate, ...] = ("mean",)
    over: tuple[str | timedelta, ...] | list[str] = ()
    tile: str | timedelta | None = None

    def check(self) -> None:
        """Raise a DeclarationError for missing windows, an unknown aggregate or a column that is no number."""
        super().check()
        if not self.over:
            raise self.error("has no windows", 'Say over which, as in over=["1d", "7d"]')
        object.__setattr__(self, "over", tuple(sorted(parse_duration(text) for text in self.over)))
        for aggregate in self.aggregates:
            if aggregate not in ("mean", "sum", "count"):
                raise self.error(f"{aggregate!r} is no aggregate", "Use mean, sum or count")
        if self.column is None and set(self.aggregates) != {"count"}:
            raise self.error("has no column to aggregate", 'Name it, as in mean="late", or use count=True')
        columns = {column.name: column for column in self.source.columns or ()}
        if self.column is not None and columns:
            if self.column not in columns:
                raise self.error(
                    f"{self.column!r} is no column of dataset {self.source.name!r}", "Name one that is"
                )
            if columns[self.column].type not in ("float", "integer", "boolean"):
                raise self.error(
                    f"column {self.column!r} is a {columns[self.column].type}", "Aggregate a number"
                )
        if self.source.time is None:
            raise self.error(
                f"dataset {self.source.name!r} has no time column", "Windows need one: Dataset(time=…)"
            )
        if self.tile is not None:
            object.__setattr__(self, "tile", parse_duration(self.tile))

    @cached_property
    def windows(self) -> tuple[timedelta, ...]:
        """The windows, shortest first."""
        return tuple(parse_duration(span) for span in self.over)

    @cached_property
    def grain(self) -> timedelta:
        """The tile in force."""
        if self.tile is not None:
            return parse_duration(self.tile)
        return self.source.cadence or self.windows[0] / 24

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns this gives, window by window, without the view's prefix."""
        return tuple(f"{a}_{format_duration(w)}" for w in self.windows for a in self.aggregates)

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return super().spec() | {
            "type": "windows",
            "column": self.column,
            "aggregates": list(self.aggregates),
            "over": [w.total_seconds() for w in self.windows],
            "tile": self.grain.total_seconds(),
        }


@dataclass(frozen=True)
class OnRequest(_Computed, View):
    """Features computed from the request alone, by the same expression in training and in serving.

    Args:
        transform: From a ``polars.LazyFrame`` of requests to one with the feature columns, row by row.
    """

    transform: Transform = field(default=cast("Transform", None), compare=False)

    def check(self) -> None:
        """Raise a DeclarationError when there is no function."""
        if not callable(self.transform):
            raise self.error("has no transform", "Decorate a function of one LazyFrame with @hs.on_request")

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return {"type": "on-request", "transform": self.code}
