"""Comparisons and terms of orders as SQL.

What belongs to a record and is not in it, such as its tags, is in tables of its own: a comparison looks there for a row
(EXISTS), and an order joins the one row that there can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    and_,
    case,
    exists,
    func,
    not_,
    or_,
    select,
    type_coerce,
)

from homeostat.adapters.sql import documents, statements
from homeostat.adapters.sql.columns import Moment, Words
from homeostat.adapters.sql.tables import TABLES
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import ModelVersion, Record, Run
from homeostat.domain.traces import (
    Assessment,
    SpanBlock,
    SpanKind,
    Trace,
    TraceMetadata,
    TraceRun,
    TraceTag,
)
from homeostat.domain.tracking import (
    STATUSES,
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
from homeostat.ports.search import Comparison, Dataset, Entity

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


class Related(NamedTuple):
    """Where what belongs to a record is, and how it refers to it: a field of the record, or a number."""

    kind: type[Record]
    by: dict[str, str | int]


_RELATED: Final[dict[type[Record], dict[Entity, Related]]] = {
    Run: {
        "metric": Related(Metric, {"run": "id"}),
        "param": Related(Param, {"run": "id"}),
        "tag": Related(RunTag, {"run": "id"}),
        "dataset": Related(RunInput, {"run": "id"}),
    },
    Experiment: {"tag": Related(ExperimentTag, {"experiment": "id"})},
    RegisteredModel: {"tag": Related(ModelTag, {"model": "name", "version": 0})},
    ModelVersion: {"tag": Related(ModelTag, {"model": "model", "version": "version"})},
    LoggedModel: {
        "metric": Related(LoggedModelMetric, {"model": "id"}),
        "param": Related(LoggedModelParam, {"model": "id"}),
        "tag": Related(LoggedModelTag, {"model": "id"}),
    },
    Trace: {
        "tag": Related(TraceTag, {"trace": "id"}),
        "metadata": Related(TraceMetadata, {"trace": "id"}),
        "run": Related(TraceRun, {"trace": "id"}),
        "span": Related(SpanKind, {"trace": "id"}),
        "text": Related(SpanBlock, {"trace": "id"}),
        "span attribute": Related(SpanBlock, {"trace": "id"}),
        "feedback": Related(Assessment, {"trace": "id"}),
        "expectation": Related(Assessment, {"trace": "id"}),
    },
}
# Of these the key is a field, and not one of the keys in a field.
_BY_FIELD: Final = frozenset({"dataset", "run", "span", "text"})


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
        return _compared(attribute(kind, one.key), one, dialect)
    related = related_of(kind, one.entity)
    table = TABLES[related.kind].alias()
    same = belongs(related, table, own)
    if one.entity == "span attribute":

        def holds(value: ColumnElement[Any]) -> ColumnElement[bool]:
            return _compared(value, one, dialect)

        return _there(*same, documents.any_attribute(table.c.spans, one.key, holds, dialect))
    if one.entity in ("feedback", "expectation"):
        return _judged(one, table, same, dialect)
    if one.entity in _BY_FIELD:
        if one.key not in table.c:
            raise BadRequest(
                f"a {one.entity} has no {one.key}", field="filter", remedy="Use one of its fields"
            )
        return _there(*same, _compared(table.c[one.key], one, dialect))
    where = [table.c.key == one.key] if one.key or one.op != "IS NOT NULL" else []
    if one.on:
        where.append(or_(*(on_dataset(table, dataset) for dataset in one.on)))
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
    searched = within(table, scope) if related.kind is Metric and dialect == "sqlite" else []
    if searched:  # the index of metrics gives all of them at once; PostgreSQL finds out by itself
        return own["id"].in_(select(table.c.run).where(*searched, *where))
    return _there(*same, *where)


def attribute(kind: type[Record], name: str) -> ColumnElement[Any]:
    """A field of the record at hand, or what follows from its fields."""
    if (kind, name) == (Run, "artifacts"):
        runs, experiments = TABLES[Run], TABLES[Experiment].alias()
        root = select(experiments.c.artifacts).where(experiments.c.id == runs.c.experiment).scalar_subquery()
        return type_coerce(root + "/" + runs.c.id + "/artifacts", Words("Run.artifacts"))
    if (kind, name) == (Run, "status"):
        return type_coerce(case(STATUSES, value=TABLES[Run].c.state), Words("Run.status"))
    return statements.comparable(kind, name)


def related_of(kind: type[Record], entity: Entity) -> Related:
    """Where what belongs to a record is.

    Raises:
        BadRequest: nothing of that kind belongs to it.
    """
    try:
        return _RELATED[kind][entity]
    except KeyError:
        raise BadRequest(
            f"{kind.__name__} has no {entity}s",
            field="filter",
            remedy=f"Use one of {', '.join(['attribute', *_RELATED.get(kind, ())])}",
        ) from None


def belongs(related: Related, table: FromClause, own: Own) -> list[ColumnElement[bool]]:
    """That a row belongs to the record at hand."""
    return [table.c[name] == (own[to] if isinstance(to, str) else to) for name, to in related.by.items()]


def within(table: FromClause, scope: Sequence[Where]) -> list[ColumnElement[bool]]:
    """Of metrics, that they are of the experiments that are searched; they hold these for the sake of an index."""
    return [
        table.c.experiment == value if operator == "=" else statements.any_of(table.c.experiment, value)
        for field, operator, value in scope
        if field == "experiment" and operator in ("=", "in")
    ]


def on_dataset(table: FromClause, dataset: Dataset) -> ColumnElement[bool]:
    """Of a metric, that it was measured on a dataset."""
    name, digest = dataset
    return and_(table.c.dataset == name, *([table.c.digest == digest] if digest else []))


def _judged(
    one: Comparison, table: FromClause, same: Sequence[ColumnElement[bool]], dialect: str
) -> ColumnElement[bool]:
    """That a trace has an assessment of a name that still counts, with a value for which the comparison holds."""

    def at(*path: str) -> ColumnElement[Any]:
        return documents.text_at(table.c.body, one.entity, *path, dialect=dialect)

    named = (*same, table.c.name == one.key, table.c.valid, at().is_not(None))
    if one.op in ("IS NULL", "IS NOT NULL"):
        return _there(*named) if one.op == "IS NOT NULL" else not_(_there(*named))
    if one.op in ("<", "<=", ">", ">="):
        number = documents.number_at(table.c.body, one.entity, "value", dialect=dialect)
        return _there(*named, _compared(number, one, dialect))
    # What is no plain value is written as a text of JSON.
    value = func.coalesce(at("value"), at("serialized_value", "value"))
    return _there(*named, _compared(value, one, dialect))


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
    if one.op == "HAS":
        place = func.instr(column, one.value) if dialect == "sqlite" else func.strpos(column, one.value)
        return place > 0
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
