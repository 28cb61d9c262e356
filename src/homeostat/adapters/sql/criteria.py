"""Comparisons and terms of orders as SQL.

What belongs to a record and is not in it, such as its tags, is in tables of its own: a comparison looks there for a row
(EXISTS), and an order joins the one row that there can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Table,
    and_,
    case,
    exists,
    literal_column,
    not_,
    or_,
    select,
    true,
    type_coerce,
)

from homeostat.adapters.sql import statements
from homeostat.adapters.sql.columns import Moment, Words
from homeostat.adapters.sql.tables import TABLES
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import ModelVersion, Record, Run
from homeostat.domain.traces import SpanKind, Trace, TraceMetadata, TraceRun, TraceTag
from homeostat.domain.tracking import (
    Experiment,
    ExperimentTag,
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
    Metric,
    ModelTag,
    Param,
    RegisteredModel,
    RunInput,
    RunTag,
)
from homeostat.ports.meta import Where
from homeostat.ports.search import Comparison, Dataset, Entity, Order

# A value is there, is NaN, or is not there: the first sort key of a term.
THERE: Final = 0
NAN: Final = 1
NONE: Final = 2
_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": eq,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}
_GLOB: Final = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})
_LARGEST: Final = 2**63 - 1


class _Related(NamedTuple):
    """Where what belongs to a record is, and how it refers to it: a field of the record, or a number."""

    kind: type[Record]
    by: dict[str, str | int]


_RELATED: Final[dict[type[Record], dict[Entity, _Related]]] = {
    Run: {
        "metric": _Related(Metric, {"run": "id"}),
        "param": _Related(Param, {"run": "id"}),
        "tag": _Related(RunTag, {"run": "id"}),
        "dataset": _Related(RunInput, {"run": "id"}),
    },
    Experiment: {"tag": _Related(ExperimentTag, {"experiment": "id"})},
    RegisteredModel: {"tag": _Related(ModelTag, {"model": "name", "version": 0})},
    ModelVersion: {"tag": _Related(ModelTag, {"model": "model", "version": "version"})},
    LoggedModel: {
        "metric": _Related(LoggedModelMetric, {"model": "id"}),
        "param": _Related(LoggedModelParam, {"model": "id"}),
        "tag": _Related(LoggedModelTag, {"model": "id"}),
    },
    Trace: {
        "tag": _Related(TraceTag, {"trace": "id"}),
        "metadata": _Related(TraceMetadata, {"trace": "id"}),
        "run": _Related(TraceRun, {"trace": "id"}),
        "span": _Related(SpanKind, {"trace": "id"}),
    },
}
# Of these the key is a field, and not one of the keys in a field.
_BY_FIELD: Final = frozenset({"dataset", "run", "span"})


Own = Mapping[str, ColumnElement[Any]]  # by field of the record at hand, a column that holds its value


def condition(
    kind: type[Record], one: Comparison, own: Own, scope: Sequence[Where], dialect: str
) -> ColumnElement[bool]:
    """A comparison as SQL.

    Args:
        kind: The record class.
        one: The comparison.
        own: Where the record's key is at hand; not always in its own table.
        scope: The query's conditions.
        dialect: ``sqlite`` or ``postgresql``.
    """
    if one.entity == "attribute":
        return _compared(_attribute(kind, one.key), one, dialect)
    related = _related(kind, one.entity)
    table = TABLES[related.kind].alias()
    same = _joined(related, table, own)
    if one.entity in _BY_FIELD:
        if one.key not in table.c:
            raise BadRequest(
                f"a {one.entity} has no {one.key}", field="filter", remedy="Use one of its fields"
            )
        return _there(*same, _compared(table.c[one.key], one, dialect))
    where = [table.c.key == one.key] if one.key or one.op != "IS NOT NULL" else []
    if one.on:
        where.append(or_(*(_on(table, dataset) for dataset in one.on)))
    if one.op in ("IS NULL", "IS NOT NULL"):
        return _there(*same, *where) if one.op == "IS NOT NULL" else not_(_there(*same, *where))
    if one.op == "LACKS":
        return not_(_there(*same, *where, table.c.value == one.value))
    if one.entity != "metric":
        return _there(*same, *where, _compared(table.c.value, one, dialect))
    if one.op == "!=":  # NaN is kept as NULL, and differs from every number
        where.append(table.c.value.is_distinct_from(float(one.value)))
    else:
        where.append(_compared(table.c.value, one, dialect))
    within = _within(table, scope) if related.kind is Metric else []
    if within:  # the index of metrics gives all of them at once
        return own["id"].in_(select(table.c.run).where(*within, *where))
    return _there(*same, *where)


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
    """

    value: ColumnElement[Any]
    rank: ColumnElement[int]
    ranks: tuple[int, ...]
    descending: bool
    table: FromClause | None = None
    on: ColumnElement[bool] = field(default_factory=true)
    own: Own = field(default_factory=dict)

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
        return [self.value.is_not(None) if rank == THERE else self.value.is_(None)]

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
        return _of_value(_attribute(kind, order.key), order.descending)
    related = _related(kind, order.entity)
    table = TABLES[related.kind].alias(name)
    same = [*_joined(related, table, {**TABLES[kind].c}), table.c.key == order.key]
    if related.kind is LoggedModelMetric:
        return _of_value(_newest(table, same, order), order.descending)
    if related.kind is Metric:
        same += _within(table, scope)
    value, key = table.c.value, table.c.key
    ranks = (THERE, NAN, NONE) if order.entity == "metric" else (THERE, NONE)
    rank = case((key.is_(None), NONE), (value.is_(None), NAN), else_=THERE)
    own = {to: table.c[name] for name, to in related.by.items() if isinstance(to, str)}
    return Term(value, rank, ranks, order.descending, table, and_(*same), own)


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
        same = [*same, _on(table, order.on)]
    newest = table.c.timestamp.desc(), table.c.step.desc(), table.c.run.asc()
    return select(table.c.value).where(*same).order_by(*newest).limit(1).scalar_subquery()


def _attribute(kind: type[Record], name: str) -> ColumnElement[Any]:
    if (kind, name) == (Run, "artifacts"):
        runs, experiments = TABLES[Run], TABLES[Experiment].alias()
        root = select(experiments.c.artifacts).where(experiments.c.id == runs.c.experiment).scalar_subquery()
        return type_coerce(root + "/" + runs.c.id + "/artifacts", Words("Run.artifacts"))
    return statements.comparable(kind, name)


def _related(kind: type[Record], entity: Entity) -> _Related:
    try:
        return _RELATED[kind][entity]
    except KeyError:
        raise BadRequest(
            f"{kind.__name__} has no {entity}s",
            field="filter",
            remedy=f"Use one of {', '.join(['attribute', *_RELATED.get(kind, ())])}",
        ) from None


def _joined(related: _Related, table: FromClause, own: Own) -> list[ColumnElement[bool]]:
    """That a row belongs to the record at hand."""
    return [table.c[name] == (own[to] if isinstance(to, str) else to) for name, to in related.by.items()]


def _within(table: FromClause, scope: Sequence[Where]) -> list[ColumnElement[bool]]:
    """Of metrics, that they are of the experiments that are searched; they hold these for the sake of an index."""
    return [
        table.c.experiment == value if operator == "=" else table.c.experiment.in_(list(value))
        for field, operator, value in scope
        if field == "experiment" and operator in ("=", "in")
    ]


def _on(table: FromClause, dataset: Dataset) -> ColumnElement[bool]:
    name, digest = dataset
    return and_(table.c.dataset == name, *([table.c.digest == digest] if digest else []))


def _there(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(*where)


def _compared(column: ColumnElement[Any], one: Comparison, dialect: str) -> ColumnElement[bool]:
    if isinstance(column.type, Moment):
        return _at(type_coerce(column, BigInteger), one)
    if one.op == "LIKE":
        if dialect == "sqlite":  # whose LIKE takes a for A
            return column.op("GLOB", is_comparison=True, return_type=Boolean())(_glob(one.value))
        return column.like(one.value, escape="")
    if one.op == "ILIKE":
        return column.like(one.value) if dialect == "sqlite" else column.ilike(one.value, escape="")
    if one.op == "IN":
        return column.in_(one.value)
    if one.op == "NOT IN":
        return column.not_in(one.value)
    compare = _COMPARE.get(one.op)
    if compare is None:
        raise BadRequest(f"{one.key} cannot be compared by {one.op}", field="filter", remedy="Use =")
    found: ColumnElement[bool] = compare(column, one.value)
    return found


def _glob(pattern: str) -> str:
    """A pattern of LIKE as one of GLOB."""
    return pattern.translate(_GLOB)


def _at(micros: ColumnElement[int], one: Comparison) -> ColumnElement[bool]:
    """A time, kept in microseconds, compared with milliseconds; it counts as the millisecond that it is in."""
    given = one.value
    if not math.isfinite(given):
        raise BadRequest(f"{one.key} is compared with {given}", field="filter", remedy="Use a finite number")
    begin, end = _clamped(math.ceil(given)), _clamped(math.floor(given) + 1)
    if one.op == "<":
        return micros < begin
    if one.op == ">=":
        return micros >= begin
    if one.op == "<=":
        return micros < end
    if one.op == ">":
        return micros >= end
    if one.op == "=":
        return and_(micros >= begin, micros < end)
    if one.op == "!=":
        return or_(micros < begin, micros >= end)
    raise BadRequest(f"{one.key} cannot be compared by {one.op}", field="filter", remedy="Use =")


def _clamped(milliseconds: int) -> int:
    return max(-_LARGEST, min(milliseconds * 1000, _LARGEST))
