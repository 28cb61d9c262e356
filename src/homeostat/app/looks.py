"""What came since the last look at a deployment's traffic: new rows of its log, and outcomes of rows, each once.

Only what is new is read. What a later outcome may belong to, the requests that have none yet, and what a later request
may ask for, the first answer of each key, stay in memory; a process that was not there reads them again. Where the next
look goes on is kept with what looks (``seen``), so that a restart loses nothing and counts nothing twice.

Memory is bounded, though most requests may never get an outcome. Once a quarter of a million wait, all of the newest
stay, and of older ones the fewer the more came after them, drawn by their id: outcomes are then counted of a sample, at
every delay. The same holds for answers that wait for a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from weakref import WeakKeyDictionary

import polars as pl

from homeostat.app.answers import key_of
from homeostat.app.container import Container
from homeostat.app.outcomes import labels_of, log_of
from homeostat.app.reading import read_since, stretches
from homeostat.domain.contracts import SEQ
from homeostat.domain.records import Dataset

OUTCOME: Final = "outcome"
_CAME: Final = "_came"
_ID: Final = "prediction_id"
_KEY: Final = "key"
_LOG: Final = "log"
_READ: Final = (_LOG, "label", "id")
_PLACE: Final = "_place"
_MOST: Final = 16
_WAITING: Final = 250_000  # rows that wait, before any is forgotten
_NEWEST: Final = 25_000  # of them that all stay then; of those after which n times as many came, one in n
_LONGEST: Final = 400 * _NEWEST  # came after those of which none stays
_POSITIONS: Final = tuple(f"{name}_{what}" for name in _READ for what in ("from", "seq"))


@dataclass(frozen=True)
class Source:
    """Where outcomes come from besides prediction ids: a column of a dataset as a number, by the key of the request."""

    dataset: str
    column: pl.Expr
    keys: Sequence[str]


@dataclass(frozen=True)
class Look:
    """What came since the last look.

    Args:
        fresh: New rows of the log, where they are wanted.
        outcomes: Rows of the log that have an outcome and had none, with ``outcome``, in the order these came.
        seen: Where the next look goes on.
    """

    fresh: pl.DataFrame
    outcomes: pl.DataFrame
    seen: dict[str, int]


@dataclass(frozen=True)
class _Known:
    """What was read until ``seen``.

    Args:
        seen: Up to where.
        waiting: Requests without an outcome, in the order of the log.
        first: By the column that they join on, the first answer of each value.
        counted: How many requests, and answers by that column, there were.
    """

    seen: dict[str, int]
    waiting: pl.DataFrame | None = None
    first: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)


_KNOWN: Final[WeakKeyDictionary[Container, dict[tuple[Any, ...], _Known]]] = WeakKeyDictionary()


def start(container: Container, deployment: str, source: Source | None) -> dict[str, int]:
    """Where the first look goes on from: now."""
    out = {}
    for name, dataset in zip(
        _READ, (log_of(deployment), source.dataset if source else "", labels_of(deployment)), strict=True
    ):
        record = container.store.get(Dataset, dataset) if dataset else None
        out[f"{name}_from"] = out[f"{name}_seq"] = record.position if record else 0
    return out


def look(
    container: Container,
    deployment: str,
    source: Source | None,
    seen: Mapping[str, Any],
    columns: Sequence[str],
    *,
    judged: pl.Expr,
    fresh: pl.Expr | None = None,
    by: str = "",
) -> Look:
    """New rows of the log, and new outcomes of rows since ``start``.

    Args:
        container: The ports.
        deployment: Whose log.
        source: Where outcomes come from; None: by prediction id alone.
        seen: What ``start`` or the last look gave.
        columns: Of the log, that are wanted.
        judged: Which rows of the log may have an outcome.
        fresh: Which of them are wanted as they come; None: none.
        by: Who looks, where several do that would be at different places: what one of them read serves it alone.
    """
    found = {name: int(seen.get(name, 0)) for name in _POSITIONS}
    reader = _Reader(container, deployment, source, columns, judged, fresh)
    mine = _KNOWN.setdefault(container, {})
    what = (deployment, by, str(judged), str(fresh), *columns)
    known = mine.pop(what, None)
    known = _later(known, found) if known is not None else None
    if known is None:
        known = reader.again(found)
    made, mine[what] = reader.on(known)
    for oldest in list(mine)[:-_MOST]:  # of rollouts that have ended
        mine.pop(oldest, None)
    return made


def _later(known: _Known, seen: dict[str, int]) -> _Known | None:
    """What is known, begun as late as ``seen`` says; None where that is not what was read."""
    if any(known.seen[f"{name}_seq"] != seen[f"{name}_seq"] for name in _READ):
        return None
    if any(known.seen[f"{name}_from"] != seen[f"{name}_from"] for name in ("label", "id")):
        return None
    if known.seen["log_from"] > seen["log_from"]:
        return None
    # Requests before it are forgotten, as by a process that reads again from there.
    waiting = known.waiting if known.waiting is None else known.waiting.filter(pl.col(SEQ) > seen["log_from"])
    return replace(known, seen=seen, waiting=waiting)


@dataclass(frozen=True)
class _Reader:
    container: Container
    deployment: str
    source: Source | None
    columns: Sequence[str]
    judged: pl.Expr
    fresh: pl.Expr | None

    def again(self, seen: dict[str, int]) -> _Known:
        """What is known at ``seen``, read from the beginning."""
        began = seen | {f"{name}_seq": seen[f"{name}_from"] for name in _READ}
        # Requests that have their answer are many; without them those that wait are as few as they were.
        answered: dict[str, list[pl.Series]] = {}
        for on, answers in self._answers(dict(began), seen):
            answered.setdefault(on, []).append(answers[on].hash())
        done = [
            pl.col(on).hash().is_in(pl.concat(parts).unique().implode()) for on, parts in answered.items()
        ]
        waits = replace(self, judged=self.judged & ~pl.any_horizontal(done)) if done else self
        return waits.on(_Known(began), upto=seen)[1]

    def on(self, known: _Known, upto: Mapping[str, int] | None = None) -> tuple[Look, _Known]:
        """What came after what is known, until now or a position."""
        seen, counted = dict(known.seen), dict(known.counted)
        asked, first, fresh = None, dict(known.first), []
        for log in self._rows(_LOG, seen, upto, list(dict.fromkeys([_ID, _KEY, *self.columns]))):
            if self.fresh is not None:
                fresh.append(log.filter(self.fresh))
            asked = _more(asked, log.filter(self.judged), _LOG, counted)
            asked = _lightened(asked, _ID, counted[_LOG])
        parts = [part for part in (known.waiting, asked) if part is not None]
        if not parts:  # nobody has asked anything yet
            return Look(pl.DataFrame(), pl.DataFrame(), known.seen), known
        waiting = pl.concat(parts, how="diagonal_relaxed")
        for on, answers in self._answers(seen, upto):
            every = _more(first.get(on), answers, on, counted)
            once = every.unique(on, keep="first", maintain_order=True)
            first[on] = _lightened(once, on, counted[on], asked=waiting[on])
        outcomes = _matched(waiting, first)
        waiting = waiting.join(outcomes.select(_ID), on=_ID, how="anti", maintain_order="left")
        waiting = _lightened(waiting, _ID, counted[_LOG])
        if upto is None:  # nothing before the first that waits is read again
            seen["log_from"] = int(waiting[SEQ][0]) - 1 if waiting.height else seen["log_seq"]
        shown = pl.concat(fresh, how="diagonal_relaxed") if fresh else waiting.head(0)
        made = Look(shown.drop(_PLACE, strict=False), outcomes.drop(_PLACE), seen)
        return made, _Known(seen, waiting, first, counted)

    def _answers(
        self, seen: dict[str, int], upto: Mapping[str, int] | None
    ) -> Iterator[tuple[str, pl.DataFrame]]:
        """New answers by the key of the request, and by prediction id."""
        came = pl.col(SEQ).alias(_CAME)
        if self.source is not None:
            keys = list(self.source.keys)
            names = list(dict.fromkeys([*keys, *self.source.column.meta.root_names()]))
            outcome = self.source.column.cast(pl.Float64).alias(OUTCOME)
            for rows in self._rows("label", seen, upto, names):
                yield _KEY, rows.select(key_of(keys), outcome, came).drop_nulls(OUTCOME)
        for rows in self._rows("id", seen, upto, [_ID, "label"]):
            yield _ID, rows.select(_ID, pl.col("label").alias(OUTCOME), came).drop_nulls(OUTCOME)

    def _rows(
        self, name: str, seen: dict[str, int], upto: Mapping[str, int] | None, columns: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        """Rows of what is read after ``seen``, which is moved on, about as many at a time as memory should hold."""
        dataset = {
            "log": log_of(self.deployment),
            "label": self.source.dataset if self.source else "",
            "id": labels_of(self.deployment),
        }[name]
        at = f"{name}_seq"
        for end in stretches(self.container, dataset, seen[at]):
            if upto is not None:
                end = min(upto[at], end or upto[at])
            rows = read_since(self.container, dataset, seen[at], columns, upto=end)
            if rows.height:
                seen[at] = max(seen[at], rows[SEQ].cast(pl.Int64).to_list()[-1])
                yield rows
        if upto is not None:
            seen[at] = upto[at]


def _more(known: pl.DataFrame | None, rows: pl.DataFrame, what: str, counted: dict[str, int]) -> pl.DataFrame:
    """What is known and what came, each row with its place among all that ever came."""
    before = counted.get(what, 0)
    counted[what] = before + rows.height
    placed = rows.with_columns(pl.int_range(before, before + pl.len()).alias(_PLACE))
    return placed if known is None else pl.concat([known, placed], how="diagonal_relaxed")


def _lightened(rows: pl.DataFrame, on: str, counted: int, asked: pl.Series | None = None) -> pl.DataFrame:
    """As many of rows as may wait; those that are asked for stay."""
    if rows.height <= _WAITING:
        return rows
    after = counted - pl.col(_PLACE)
    stays = (after <= _LONGEST) & (pl.col(on).hash() / 2.0**64 * after <= _NEWEST)
    return rows.filter(stays if asked is None else stays | pl.col(on).is_in(asked.implode()))


def _matched(asked: pl.DataFrame, first: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Requests with their outcome; one that has two, by its key and by its id, with that by its id."""
    pairs = [
        asked.join(first[on], on=on, how="inner", maintain_order="left") for on in (_ID, _KEY) if on in first
    ]
    if not pairs:
        return asked.head(0).with_columns(pl.lit(None, pl.Float64).alias(OUTCOME))
    once = pl.concat(pairs, how="diagonal").unique(_ID, keep="first", maintain_order=True)
    return once.sort(_CAME, SEQ, maintain_order=True)
