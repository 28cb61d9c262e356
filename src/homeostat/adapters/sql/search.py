"""Search in SQL: pages by keyset.

A page is what follows the values of the last record of the page before, so that no page costs more for those before it.
The first term of the order splits the records into those with a value, with NaN and with none: each part is a statement
of its own, whose order an index gives, and the next part is looked at only when the page is not full yet.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, FromClause, Select, Table, and_, case, false, func, or_, select, true

from homeostat.adapters.sql import statements
from homeostat.adapters.sql.columns import Kept
from homeostat.adapters.sql.criteria import condition
from homeostat.adapters.sql.orders import NONE, THERE, Term, term
from homeostat.adapters.sql.store import SqlMetaStore
from homeostat.domain.digests import digest_of
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import Record
from homeostat.ports.search import Page, Query

R = TypeVar("R", bound=Record)
Values = list[tuple[int, Any]]  # of each term, its rank and its value


class _Search(msgspec.Struct, array_like=True, frozen=True):
    """Digests of what a search asks for: a token is of one search."""

    scope: bytes
    filter: bytes
    order: bytes


class _Token(msgspec.Struct, array_like=True):
    """Where a page ended: the search that it is of, and the last record's values."""

    search: _Search
    values: Values


class SqlSearch:
    """The Search in the database of ``store``."""

    def __init__(self, store: SqlMetaStore) -> None:
        self._store = store

    def page(self, query: Query[R]) -> Page[R]:
        """One page; see the port."""
        if query.limit < 1:
            raise BadRequest(
                f"a page of {query.limit} records was asked for", field="limit", remedy="Use 1 or more"
            )
        terms = [
            term(query.kind, order, f"order{number}", query.scope) for number, order in enumerate(query.order)
        ]
        after = _read(query, terms) if query.token else None
        rows: list[Any] = []
        for rank in terms[0].ranks:
            if after is not None and rank < after[0][0]:
                continue
            wanted = query.limit + 1 - len(rows)
            statement, values = self._part(query, terms, rank, after, wanted)
            rows += self._store.kept(statement, values)
            after = None
            if len(rows) > query.limit:
                break
        names = _names(query)
        items = _records(query, rows[: query.limit])
        if len(rows) <= query.limit:
            return Page(items)
        last = rows[query.limit - 1][len(names) :]
        return Page(items, _write(query, [(last[2 * n], last[2 * n + 1]) for n in range(len(terms))]))

    def count(self, query: Query[R]) -> int:
        """How many there are; see the port."""
        table = statements.table_of(query.kind)
        shape, values = statements.shape_of(query.kind, query.scope)
        dialect, own = self._store.dialect, {**table.c}
        statement = (
            select(func.count())
            .select_from(table)
            .where(
                *statements.conditions(query.kind, shape),
                *(condition(query.kind, one, own, query.scope, dialect) for one in query.filter),
            )
        )
        return int(self._store.rows(statement, values)[0][0])

    def _part(
        self, query: Query[Any], terms: Sequence[Term], rank: int, after: Values | None, limit: int
    ) -> tuple[Select[Any], dict[str, Any]]:
        """The records whose first term has ``rank``, in order."""
        table = statements.table_of(query.kind)
        shape, values = statements.shape_of(query.kind, query.scope)
        first, *rest = terms
        source: FromClause = first.source(table, rank)
        for other in rest:
            source = other.joined(source)
        dialect = self._store.dialect
        own = {**table.c} if rank == NONE else {**table.c, **first.own}
        keys = [table.c[name] for name in query.kind.KEY]
        sorts = [
            column.label(f"{name}{number}")
            for number, one in enumerate(terms)
            for name, column in (("rank", one.rank), ("value", one.value))
        ]
        those = [
            *_scope(statements.conditions(query.kind, shape), aside=first.leads(rank)),
            *first.part(rank),
            *(condition(query.kind, one, own, query.scope, dialect) for one in query.filter),
        ]
        if dialect == "sqlite" and _worth_two_looks(query, terms, rank):
            those = [*first.part(rank), keys[0].in_(_first(keys[0], first, table, those, after, limit))]
        # PostgreSQL sorts a few fields as fast as keys; there a second look at each record is what costs.
        at_once = dialect == "postgresql" and query.gives is not None
        found = (
            select(*([table.c[name] for name in _names(query)] if at_once else keys), *sorts)
            .select_from(source)
            .where(*those, *(() if after is None else _after(terms, after)))
            .order_by(*first.order(rank), *(clause for one in rest for clause in one.order()))
            .limit(limit)
        )
        return found if at_once else _whole(table, query, found.subquery("page"), terms), values


def _worth_two_looks(query: Query[Any], terms: Sequence[Term], rank: int) -> bool:
    """Whether no index gives the order of the first term, and that of another one is in one more table.

    SQLite would look up the latter for every record, also for those that the first term puts far behind.
    """
    first, *rest = terms
    others = any(one.table is not None for one in rest)
    return (
        others
        and first.table is not None
        and rank == THERE
        and not first.leads(rank)
        and len(query.kind.KEY) == 1
    )


def _first(
    key: ColumnElement[Any],
    first: Term,
    table: Table,
    where: Sequence[ColumnElement[bool]],
    after: Values | None,
    limit: int,
) -> Select[Any]:
    """The keys of records that the first term alone puts on the page, with all that are equal to the last of them."""
    beyond = [] if after is None else first.from_here(*after[0])
    found = (
        select(key.label("id"), first.value.label("value"))
        .select_from(first.source(table, THERE))
        .where(*where, *beyond)
        .cte("those")
    )
    value = found.c.value
    # Of what is equal to where the last page ended, some was on it: only what is beyond counts.
    later = [] if after is None else [value < after[0][1] if first.descending else value > after[0][1]]
    order = value.desc() if first.descending else value.asc()
    last = select(value).where(*later).order_by(order).limit(1).offset(limit - 1).scalar_subquery()
    reached = func.coalesce(last, value)  # all, where they are fewer than fill a page
    return select(found.c.id).where(value >= reached if first.descending else value <= reached)


def _names(query: Query[Any]) -> tuple[str, ...]:
    """The fields of what the page holds."""
    return (query.gives or query.kind).__struct_fields__


def _records(query: Query[R], rows: list[Any]) -> list[R]:
    """What the page holds, of rows that begin with its fields, as these are kept."""
    make: Any = query.gives or query.kind
    names, table = _names(query), statements.table_of(query.kind)
    columns = list(zip(*rows, strict=True))[: len(names)]
    for place, name in enumerate(names):
        column = table.c[name]
        field_of = column.type.field_of if isinstance(column.type, Kept) else None
        if field_of is not None and rows:
            columns[place] = tuple(None if value is None else field_of(value) for value in columns[place])
    return [make(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def _scope(conditions: Sequence[ColumnElement[bool]], *, aside: bool) -> list[ColumnElement[bool]]:
    """Conditions on the record; put aside, no index is looked up for them.

    A planner without statistics takes each condition for rare. Records that another table leads to would then be looked
    for by their experiment, all of them for each row.
    """
    return [case((and_(*conditions), true()), else_=false())] if aside and conditions else [*conditions]


def _whole(table: Table, query: Query[Any], found: Any, terms: Sequence[Term]) -> Select[Any]:
    """The rows that were found by their keys. Only these are read whole: what is sorted on the way stays narrow."""
    sorts = [found.c[f"{name}{number}"] for number in range(len(terms)) for name in ("rank", "value")]
    order: list[ColumnElement[Any]] = []
    for number, one in enumerate(terms):
        value = found.c[f"value{number}"]
        order += [found.c[f"rank{number}"], value.desc() if one.descending else value.asc()]
    same = and_(*(table.c[name] == found.c[name] for name in query.kind.KEY))
    wanted = [table.c[name] for name in _names(query)]
    return select(*wanted, *sorts).select_from(found.join(table, same)).order_by(*order)


def _after(terms: Sequence[Term], values: Values) -> list[ColumnElement[bool]]:
    """What follows a record in the order, within the part of its first term."""
    later: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for number, (one, (rank, value)) in enumerate(zip(terms, values, strict=True)):
        later += [and_(*same, clause) for clause in one.later(rank, value, ranked=number > 0)]
        same += one.same(rank, value, ranked=number > 0)
    # The first is implied by the others, and alone can be looked up in an index.
    return [*terms[0].from_here(*values[0]), or_(*later)]


def _search(query: Query[Any]) -> _Search:
    scope = [query.kind.__name__, *(list(map(str, one)) for one in query.scope)]
    digests = (digest_of(part).removeprefix("sha256:") for part in (scope, query.filter, query.order))
    return _Search(*(bytes.fromhex(digest)[:9] for digest in digests))


def _write(query: Query[Any], values: Values) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(_Token(_search(query), values))).decode()


def _read(query: Query[Any], terms: Sequence[Term]) -> Values:
    try:
        token = msgspec.msgpack.decode(
            base64.b64decode(query.token, altchars=b"-_", validate=True), type=_Token
        )
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise BadRequest(
            "Invalid page token, could not be decoded", field="page_token", remedy="Ask for the first page"
        ) from error
    _same(token.search, _search(query))
    if len(token.values) != len(terms) or not all(
        one.takes(rank, value) for one, (rank, value) in zip(terms, token.values, strict=True)
    ):
        raise BadRequest(
            "Invalid page token: no page ended there", field="page_token", remedy="Ask for the first page"
        )
    return token.values


def _same(given: _Search, asked: _Search) -> None:
    """Refuse a token of another search, in MLflow's words."""
    for part, what in (
        ("scope", "Experiment IDs in the page token do not match"),
        ("filter", "Filter string in the page token does not match"),
        ("order", "Order by in the page token does not match"),
    ):
        if getattr(given, part) != getattr(asked, part):
            raise BadRequest(
                f"Invalid page token: {what} the search",
                field="page_token",
                remedy="Ask for the next page with the filter, order and experiments of the first",
            )
