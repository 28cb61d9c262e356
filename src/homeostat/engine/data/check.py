"""Checking rows against a contract: what meets it goes on, what does not is set aside with its reason.

A frame with the wrong columns, or with a vector of a wrong size, is refused as a whole; a row with a wrong value is set
aside alone. NaN is a missing value, and infinity none, as in requests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import polars as pl

from homeostat.domain.contracts import Column, vectors
from homeostat.domain.errors import ContractBroken
from homeostat.engine.data.schema import TYPES

_NARROWER: Final[dict[str, tuple[pl.DataType, ...]]] = {
    "float": (pl.Float32(),),
    "integer": (pl.Int8(), pl.Int16(), pl.Int32(), pl.UInt8(), pl.UInt16(), pl.UInt32()),
}


@dataclass(frozen=True)
class Problem:
    """Rows of one frame that break one rule of one column; ``rows`` as they came."""

    column: str
    reason: str
    rows: pl.DataFrame


@dataclass(frozen=True)
class Checked:
    """The rows that meet the contract, cast to its types, and what is wrong with the others."""

    good: pl.DataFrame
    problems: tuple[Problem, ...]
    bad: int


def check(dataset: str, frame: pl.DataFrame, columns: Sequence[Column], keys: Sequence[str]) -> Checked:
    """Check ``frame`` against ``columns``; within the frame, the first row of each key counts.

    Raises:
        ContractBroken: a column is missing or unknown, or a vector is not of as many numbers as are declared; names it.
    """
    frame = _arranged(_complete(dataset, spread(dataset, frame, columns), columns), columns)
    if _plainly_sound(frame, columns, keys):
        return Checked(frame, (), 0)
    as_is = all(frame.schema[column.name] == TYPES[column.type] for column in columns)
    rows = frame
    rules: list[tuple[str, str, pl.Expr]] = []
    unread: dict[str, pl.Expr] = {}  # values that are there, and of no use: they are not missing too
    if not as_is:
        rows = frame.select(_cast(column, frame.schema[column.name]) for column in columns)
        for column in columns:
            gone = rows[column.name].is_null() & frame[column.name].is_not_null()
            if gone.any():
                unread[column.name] = pl.lit(gone)
                rules.append((column.name, f"is no {column.type}", unread[column.name]))
    floats = [column.name for column in columns if column.type == "float"]
    if floats and any(rows.select(pl.col(floats).is_nan().any()).row(0)):
        rows = rows.with_columns(pl.col(floats).fill_nan(None))
    for column in columns:
        lost = unread.get(column.name)
        rules += [
            (column.name, reason, broken if lost is None else broken & ~lost)
            for reason, broken in _rules(column)
        ]
    if keys:
        repeated = pl.struct(*keys).is_first_distinct().not_()
        rules.append((keys[0], "repeats the key of an earlier row of the same delivery", repeated))
    found = rows.select(broken.any().alias(str(i)) for i, (_, _, broken) in enumerate(rules)).row(0)
    hit = [i for i, any_ in enumerate(found) if any_]
    if not hit:
        return Checked(rows, (), 0)
    masks = rows.select(rules[i][2].fill_null(False).alias(str(i)) for i in hit)
    problems = tuple(Problem(rules[i][0], rules[i][1], frame.filter(masks[str(i)])) for i in hit)
    bad = masks.select(pl.any_horizontal(pl.all())).to_series()
    return Checked(rows.filter(~bad), problems, int(bad.sum()))


def _plainly_sound(frame: pl.DataFrame, columns: Sequence[Column], keys: Sequence[str]) -> bool:
    """Whether extremes and counts alone show that every row meets the contract.

    Nearly every delivery does and most are small: this costs a tenth of asking rule by rule. False means: not shown.
    """
    for column in columns:
        series = frame[column.name]
        if series.dtype != TYPES[column.type] or column.pattern is not None:
            return False
        if not column.nullable and series.null_count():
            return False
        if column.choices is not None and not set(series.to_list()) <= {*column.choices, None}:
            return False
        if column.type in ("float", "integer") and not _within(series, column):
            return False
    if not keys:
        return True
    different = frame[keys[0]].n_unique() if len(keys) == 1 else frame.n_unique(list(keys))
    return different == frame.height


def _within(series: pl.Series, column: Column) -> bool:
    total = series.sum()
    if column.type == "float" and not isfinite(total):  # a NaN or an infinity is among them
        return False
    least: Any = series.min()
    most: Any = series.max()
    if least is None:
        return True
    return (
        (column.ge is None or least >= column.ge)
        and (column.gt is None or least > column.gt)
        and (column.le is None or most <= column.le)
        and (column.lt is None or most < column.lt)
    )


def spread(dataset: str, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """Vectors that came as lists, a column for each of their numbers.

    Raises:
        ContractBroken: one of them is not of as many numbers as are declared; names its column.
    """
    for name, parts in vectors(columns).items():
        if name not in frame.columns or not isinstance(frame.schema[name], pl.List | pl.Array):
            continue
        try:
            lists = frame[name].cast(pl.List(pl.Float64()))
        except pl.exceptions.PolarsError as error:
            raise ContractBroken(
                f"dataset/{dataset} got a {name!r} of {frame.schema[name].inner}, which are no numbers",  # type: ignore[attr-defined] # a list
                remedy=f"Send lists of {len(parts)} numbers",
            ) from error
        sizes = lists.list.len().drop_nulls()
        if (sizes != len(parts)).any():
            wrong = sizes.filter(sizes != len(parts))[0]
            raise ContractBroken(
                f"dataset/{dataset} got a {name!r} of {wrong} numbers, and its contract says {len(parts)}",
                remedy="Send vectors of one size, or declare another",
            )
        numbers = [lists.list.get(place).alias(part) for place, part in enumerate(parts)]
        frame = frame.drop(name).with_columns(numbers)
    return frame


def _complete(dataset: str, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    names = [column.name for column in columns]
    unknown = [name for name in frame.columns if name not in names]
    if unknown:
        raise ContractBroken(
            f"dataset/{dataset} got column {unknown[0]!r}, which its contract does not have",
            remedy=f"Drop it, or add it to the contract; its columns are {', '.join(names)}",
        )
    missing = [column for column in columns if column.name not in frame.columns]
    required = [column.name for column in missing if not column.nullable]
    if required:
        raise ContractBroken(
            f"dataset/{dataset} got no column {required[0]!r}",
            remedy="Send it, or let it be None in the contract",
        )
    if not missing:
        return frame
    return frame.with_columns(pl.lit(None, TYPES[column.type]).alias(column.name) for column in missing)


def _arranged(frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """The columns in the contract's order, narrower numbers as wide as its own: no value changes by that."""
    out = []
    for column in columns:
        series = frame[column.name]
        out.append(
            series.cast(TYPES[column.type]) if series.dtype in _NARROWER.get(column.type, ()) else series
        )
    return pl.DataFrame(out)


def _cast(column: Column, dtype: pl.DataType) -> pl.Expr:
    target = TYPES[column.type]
    value = pl.col(column.name)
    if dtype == target:
        return value
    if column.type == "datetime" and dtype == pl.String:
        return value.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    if column.type == "datetime" and isinstance(dtype, pl.Datetime):
        zoned = value.dt.convert_time_zone("UTC") if dtype.time_zone else value.dt.replace_time_zone("UTC")
        return zoned.cast(target)
    if column.type == "integer" and dtype.is_float():
        return pl.when(value == value.round()).then(value).cast(target, strict=False)
    if column.type == "boolean" and dtype.is_numeric():
        return pl.when(value.is_in([0, 1])).then(value == 1).alias(column.name)
    return value.cast(target, strict=False)


def _lacks(value: pl.Expr, pattern: str) -> pl.Expr:
    """Whether ``pattern`` is not found in a text. Python looks for it, as in requests: no two engines agree on all."""
    found = re.compile(pattern).search

    def lack(texts: pl.Series) -> pl.Series:
        bad = [text for text in texts.unique() if text is not None and not found(text)]
        return texts.is_in(pl.Series(bad, dtype=pl.String).implode())

    return value.map_batches(lack, return_dtype=pl.Boolean)


def _rules(column: Column) -> list[tuple[str, pl.Expr]]:
    value = pl.col(column.name)
    rules: list[tuple[str, pl.Expr]] = []
    if not column.nullable:
        rules.append(("is missing", value.is_null()))
    if column.type == "float":
        rules.append(("is infinite", value.is_infinite()))
    if column.ge is not None:
        rules.append((f"is below {column.ge:g}", value < column.ge))
    if column.gt is not None:
        rules.append((f"is not above {column.gt:g}", value <= column.gt))
    if column.le is not None:
        rules.append((f"is above {column.le:g}", value > column.le))
    if column.lt is not None:
        rules.append((f"is not below {column.lt:g}", value >= column.lt))
    if column.pattern is not None:
        rules.append((f"does not match {column.pattern}", _lacks(value, column.pattern)))
    if column.choices is not None:
        rules.append(
            (f"is none of {', '.join(map(str, column.choices))}", ~value.is_in(list(column.choices)))
        )
    return rules
