"""Terms of an order as SQL: what is ordered by, how it is joined, and what comes after a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Table,
    and_,
    case,
    literal_column,
    select,
    true,
    type_coerce,
)

from homeostat.adapters.sql.columns import Kept, Moment
from homeostat.adapters.sql.criteria import Own, attribute, belongs, on_dataset, related_of, within
from homeostat.adapters.sql.tables import TABLES
from homeostat.domain.records import Record
from homeostat.domain.tracking import LoggedModelMetric, Metric
from homeostat.ports.meta import Where
from homeostat.ports.search import Order

# A value is there, is NaN, or is not there: the first sort key of a term.
THERE: Final = 0
NAN: Final = 1
NONE: Final = 2


@dataclass(frozen=True)
class Term:
    """A term of an order.

    Args:
        value: What is ordered by; NULL where it is NaN or not there.
        rank: ``THERE``, ``NAN`` or ``NONE``.
        ranks: Those that can be, ascending.
        descending: From the greatest to the least.
        table: The table that holds the value, when that is not the record's own.
        on: How it is joined.
        own: Columns of that table that hold fields of the record.
        leading: What finds the rows of that table by its index, where they lead to the records.
    """

    value: ColumnElement[Any]
    rank: ColumnElement[int]
    ranks: tuple[int, ...]
    descending: bool
    table: FromClause | None = None
    on: ColumnElement[bool] = field(default_factory=true)
    own: Own = field(default_factory=dict)
    leading: tuple[ColumnElement[bool], ...] = ()

    def takes(self, rank: Any, value: Any) -> bool:
        """Whether a record can have this rank and value."""
        if type(rank) is not int or rank not in self.ranks:
            return False
        if rank != THERE:
            return value is None
        kept = self.value.type
        wanted = (kept.impl_instance if isinstance(kept, Kept) else kept).python_type
        return type(value) is wanted or (wanted is float and type(value) is int)

    def leads(self, rank: int) -> bool:
        """Whether the records of ``rank`` are found by the index of the table that holds the value."""
        return bool(self.leading) and rank != NONE

    def joined(self, source: FromClause) -> FromClause:
        """``source`` with the table that holds the value, for records without one too."""
        return source if self.table is None else source.outerjoin(self.table, self.on)

    def source(self, table: Table, rank: int) -> FromClause:
        """The records among which are those of ``rank``; a table that holds their values leads, for its index."""
        if self.table is None:
            return table
        return self.joined(table) if rank == NONE else self.table.join(table, self.on)

    def part(self, rank: int) -> list[ColumnElement[bool]]:
        """What tells the records of ``rank`` from the rest of ``source``."""
        if rank == NONE and self.table is not None:
            return [self.table.c.key.is_(None)]
        if len(self.ranks) == 1 or (self.table is not None and NAN not in self.ranks):
            return []
        return [self.value.is_not(None) if rank == THERE else self.value.is_(None), *self.leading]

    def order(self, rank: int | None = None) -> list[ColumnElement[Any]]:
        """The clauses that order by it, of records that all have ``rank`` or, where that is None, any."""
        if rank not in (None, THERE):
            return []
        value = self.value.desc() if self.descending else self.value.asc()
        if rank == THERE or len(self.ranks) == 1:
            return [value]
        return [self.rank.asc(), value] if NAN in self.ranks else [value.nulls_last()]

    def later(self, rank: int, value: Any, *, ranked: bool) -> list[ColumnElement[bool]]:
        """Clauses of which one holds for what comes after a value."""
        found: list[ColumnElement[bool]] = []
        if ranked and rank < self.ranks[-1]:
            found.append(self.rank > rank)
        if rank == THERE:
            found.append(self.value < value if self.descending else self.value > value)
        return found

    def same(self, rank: int, value: Any, *, ranked: bool) -> list[ColumnElement[bool]]:
        """That it is the same."""
        if rank == THERE:
            return [self.value == value]
        return [self.rank == rank] if ranked else []

    def from_here(self, rank: int, value: Any) -> list[ColumnElement[bool]]:
        """That it is the same or comes after, as one comparison that an index can look up."""
        if rank != THERE:
            return []
        return [self.value <= value if self.descending else self.value >= value]


def term(kind: type[Record], order: Order, name: str, scope: Sequence[Where]) -> Term:
    """A term of an order as SQL.

    Args:
        kind: The record class.
        order: The term.
        name: An alias that no other term of the query has.
        scope: The query's conditions.
    """
    if order.entity == "attribute":
        return _of_value(attribute(kind, order.key), order.descending)
    related = related_of(kind, order.entity)
    table = TABLES[related.kind].alias(name)
    same = [*belongs(related, table, {**TABLES[kind].c}), table.c.key == order.key]
    if related.kind is LoggedModelMetric:
        return _of_value(_newest(table, same, order), order.descending)
    value, key = table.c.value, table.c.key
    ranks = (THERE, NAN, NONE) if order.entity == "metric" else (THERE, NONE)
    rank = case((key.is_(None), NONE), (value.is_(None), NAN), else_=THERE)
    own = {to: table.c[name] for name, to in related.by.items() if isinstance(to, str)}
    leading = within(table, scope) if related.kind is Metric else []
    return Term(value, rank, ranks, order.descending, table, and_(*same), own, tuple(leading))


def _of_value(value: ColumnElement[Any], descending: bool) -> Term:
    if isinstance(value, Column) and not value.nullable:
        return Term(_plain(value), literal_column("0", Integer), (THERE,), descending)
    return Term(_plain(value), case((value.is_(None), NONE), else_=THERE), (THERE, NONE), descending)


def _plain(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Times as the numbers that they are kept as, which a page's token can hold."""
    return type_coerce(value, BigInteger) if isinstance(value.type, Moment) else value


def _newest(table: FromClause, same: list[ColumnElement[bool]], order: Order) -> ColumnElement[Any]:
    """Of a logged model's metric, which several runs may have measured on several datasets, the newest value."""
    if order.on != ("", ""):
        same = [*same, on_dataset(table, order.on)]
    newest = table.c.timestamp.desc(), table.c.step.desc(), table.c.run.asc()
    return select(table.c.value).where(*same).order_by(*newest).limit(1).scalar_subquery()
