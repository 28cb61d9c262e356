"""The statements on records, built once for each shape and kept: building one costs more than running it.

A statement's parameters are ``w0``, ``w1``, … for the values of its conditions, ``limit``, and a field's own
name for the key and for written values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from operator import eq, ge, gt, le, lt
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Delete,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy import update as sql_update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from homeostat.adapters.sql.columns import Json, Many, Payload, Words
from homeostat.adapters.sql.tables import TABLES
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import Record
from homeostat.ports.meta import Where

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    Insert = sqlite.Insert | postgresql.Insert

R = TypeVar("R", bound=Record)
# A condition without its value: field, operator, whether the value is None.
Shape = tuple[tuple[str, str, bool], ...]

Lock = Literal["", "shared", "alone"]

# Until the transaction ends, by name; for PostgreSQL.
HOLD: Final = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name", type_=Text), 0)))

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


class among(FunctionElement[bool]):
    """``among(column, values)``: the column has one of ``values``, which are one parameter of the type ``Many``."""

    inherit_cache = True
    type = Boolean()

    def self_group(self, against: Any = None) -> among:
        """As it stands: a function that gives a boolean would be compared with 1 in SQLite, past every index."""
        return self


def any_of(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """That a column has one of these values; of a single one an index gives the rest in its order."""
    if len(values) == 1:
        alone: ColumnElement[bool] = column == values[0]
        return alone
    return among(column, bindparam(None, list(values), type_=Many(column.type), unique=True))


@compiles(among, "sqlite")
def _in_json(element: among, compiler: SQLCompiler, **how: Any) -> str:
    column, values = (compiler.process(part, **how) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(among, "postgresql")
def _in_array(element: among, compiler: SQLCompiler, **how: Any) -> str:
    column, values = (compiler.process(part, **how) for part in element.clauses)
    if isinstance(element.clauses.clauses[0].type, Words):  # a text: read once, and not for each row
        values = f"(SELECT CAST({values} AS TEXT[]))::TEXT[]"
    return f"{column} = ANY ({values})"


def table_of(kind: type[Record]) -> Table:
    """The table of a record class.

    Raises:
        BadRequest: ``kind`` is not stored.
    """
    try:
        return TABLES[kind]
    except KeyError:
        raise BadRequest(
            f"{kind.__name__} is not kept in the store",
            remedy="Store the classes of homeostat.domain.records",
        ) from None


def shape_of(kind: type[Record], where: Sequence[Where]) -> tuple[Shape, dict[str, Any]]:
    """Conditions as the shape of a statement and the values of its parameters."""
    shape: list[tuple[str, str, bool]] = []
    values: dict[str, Any] = {}
    for number, (field, given, value) in enumerate(where):
        operator: str = given
        if operator == "in":
            value = list(value)
            if None in value:
                raise BadRequest(
                    f"{kind.__name__}.{field} is searched in a list that holds None", field=field
                )
            if len(value) == 1:
                operator, value = "=", value[0]
        shape.append((field, operator, value is None))
        if value is not None:
            values[f"w{number}"] = value
    return tuple(shape), values


def key_of(kind: type[Record], key: Sequence[Any]) -> dict[str, Any]:
    """The parameters of ``get`` for a key."""
    if len(key) != len(kind.KEY):
        raise BadRequest(f"the key of {kind.__name__} is ({', '.join(kind.KEY)}), not {key!r}")
    return dict(zip(kind.KEY, key, strict=True))


@cache
def get(kind: type[Record], lock: Lock = "") -> Select[Any]:
    """One record by its key."""
    table = table_of(kind)
    statement = select(table).where(*(table.c[name] == bindparam(name) for name in kind.KEY))
    return statement.with_for_update(read=lock == "shared") if lock else statement


@lru_cache(maxsize=2048)
def find(kind: type[Record], shape: Shape, order: tuple[str, ...], limited: bool) -> Select[Any]:
    """Records by conditions, in an order that is always complete, since the key comes last."""
    table = table_of(kind)
    statement = select(table).where(*conditions(kind, shape)).order_by(*_order(kind, order))
    return statement.limit(bindparam("limit")) if limited else statement


@lru_cache(maxsize=256)
def pick(kind: type[Record], fields: tuple[str, ...], shape: Shape) -> Select[Any]:
    """Some fields of records, by conditions."""
    return select(*(_known(kind, name) for name in fields)).where(*conditions(kind, shape))


@lru_cache(maxsize=2048)
def count(kind: type[Record], shape: Shape) -> Select[Any]:
    """How many records meet conditions."""
    return select(func.count()).select_from(table_of(kind)).where(*conditions(kind, shape))


@lru_cache(maxsize=2048)
def remove(kind: type[Record], shape: Shape) -> Delete:
    """Delete by conditions."""
    return delete(table_of(kind)).where(*conditions(kind, shape))


@lru_cache(maxsize=256)
def update(kind: type[Record], fields: tuple[str, ...], shape: Shape) -> Update:
    """Set fields by conditions."""
    table = table_of(kind)
    for name in fields:
        _known(kind, name)
    values = {name: bindparam(f"to_{name}", type_=table.c[name].type) for name in fields}
    return sql_update(table).where(*conditions(kind, shape)).values(values)


@cache
def write(kind: type[Record], dialect: str, replace: bool, by: tuple[str, ...] = ()) -> Insert:
    """Add a record; one with the same key is replaced, or left as it is and shows in the row count.

    With ``by``, it is replaced where the new one is greater in these fields.

    A failed INSERT would end the whole transaction in PostgreSQL; so a taken key is no error to the database.
    """
    table = table_of(kind)
    statement = _insert(dialect)(table).values({column.name: bindparam(column.name) for column in table.c})
    rest = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    key = list(kind.KEY)
    greater = _greater(statement.excluded, [comparable(kind, name) for name in by]) if by else None
    done: Insert = (
        statement.on_conflict_do_update(index_elements=key, set_=rest, where=greater)
        if replace and rest
        else statement.on_conflict_do_nothing(index_elements=key)
    )
    return done


def _insert(dialect: str) -> Callable[[Table], Any]:
    # Each takes a sixth of a start to import: only the one that is asked for.
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment] # the same of another dialect
    return insert


def _greater(new: Any, columns: list[Column[Any]]) -> ColumnElement[bool]:
    """Whether the new row is greater than the stored one, by one column after the other; NULL is the least."""
    column, *rest = columns
    value = new[column.name]
    more: ColumnElement[bool] = value > column
    if column.nullable:
        more = or_(more, and_(value.is_not(None), column.is_(None)))
    if not rest:
        return more
    same = value.is_not_distinct_from(column) if column.nullable else value == column
    return or_(more, and_(same, _greater(new, rest)))


def _known(kind: type[Record], field: str) -> Column[Any]:
    columns = table_of(kind).c
    if field not in columns:
        raise BadRequest(
            f"{kind.__name__} has no field {field!r}",
            field=field,
            remedy=f"Use one of {', '.join(columns.keys())}",
        )
    found: Column[Any] = columns[field]
    return found


def comparable(kind: type[Record], field: str) -> Column[Any]:
    """The column of a field that can be compared.

    Raises:
        BadRequest: there is no such field, or it holds JSON or bytes.
    """
    column = _known(kind, field)
    if isinstance(column.type, (Json, Payload)):
        raise BadRequest(
            f"{kind.__name__}.{field} cannot be compared",
            field=field,
            remedy="Use a field that holds one text, number, bool or time",
        )
    return column


def conditions(kind: type[Record], shape: Shape) -> list[ColumnElement[bool]]:
    """Conditions as SQL, their values as parameters."""
    return [
        _condition(comparable(kind, field), operator, none, f"w{number}", f"{kind.__name__}.{field}")
        for number, (field, operator, none) in enumerate(shape)
    ]


def _condition(column: Column[Any], operator: str, none: bool, name: str, label: str) -> ColumnElement[bool]:
    value = bindparam(name, type_=column.type)
    if operator == "=":
        return column.is_(None) if none else eq(column, value)
    if operator == "!=":
        # As in Python, and unlike <> in SQL, None differs from every value.
        return column.is_not(None) if none else column.is_distinct_from(value)
    if none:
        raise BadRequest(
            f"{label} cannot be {operator} None", field=column.name, remedy="Use = or != with None"
        )
    if operator == "in":
        return among(column, bindparam(name, type_=Many(column.type)))
    if operator not in _COMPARE:
        raise BadRequest(
            f"{operator!r} is no comparison", field=column.name, remedy="Use one of = != < <= > >= in"
        )
    compared: ColumnElement[bool] = _COMPARE[operator](column, value)
    return compared


def _order(kind: type[Record], order: tuple[str, ...]) -> list[ColumnElement[Any]]:
    terms: list[ColumnElement[Any]] = []
    for name in (*order, *kind.KEY):
        column = comparable(kind, name.removeprefix("-"))
        term = column.desc() if name.startswith("-") else column.asc()
        if column.nullable:  # the dialects differ in where they put None; here it is the least
            term = term.nulls_last() if name.startswith("-") else term.nulls_first()
        terms.append(term)
    return terms
