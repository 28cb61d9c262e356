"""Searching records by what belongs to them: their attributes, tags, parameters and metrics, a page at a time."""

from __future__ import annotations

from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from homeostat.domain.records import Record
from homeostat.ports.meta import Where

R = TypeVar("R", bound=Record)
Entity = Literal[
    "attribute",
    "metric",
    "param",
    "tag",
    "dataset",
    "metadata",
    "run",
    "span",
    "span attribute",
    "text",
    "feedback",
    "expectation",
]
Op = Literal[
    "=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL", "LACKS", "HAS"
]
Dataset = tuple[str, str]  # name and digest; an empty digest stands for any


class Comparison(msgspec.Struct, frozen=True):
    """A condition on a record.

    Args:
        entity: What kind of thing is compared. An attribute's key is the record's field, a dataset's one of name,
            digest and context, a span's one of name, type and status, a run's is ``run``, a text's ``spans``; the key
            of a metric, parameter, tag, piece of metadata, attribute of a span, feedback or expectation is its own.
        op: How. ``LACKS`` holds where no value equals the given one, also where there is none; ``HAS`` where the given
            text is somewhere in a value, letter by letter.
        value: With what: a text, a number, a tuple of texts for IN; of a time, milliseconds since 1970; None for the
            tests on NULL.
        on: Of metrics, only those on one of these datasets; empty: all. An empty key with IS NOT NULL is any metric.
    """

    entity: Entity
    key: str
    op: Op
    value: Any = None
    on: tuple[Dataset, ...] = ()


class Order(msgspec.Struct, frozen=True):
    """One term of an order. Where the value is NaN or missing, a record comes last in both directions, in this order.

    Args:
        entity: As in ``Comparison``.
        key: As in ``Comparison``.
        descending: From the greatest to the least.
        on: Of metrics, only those on this dataset.
    """

    entity: Entity
    key: str
    descending: bool = False
    on: Dataset = ("", "")


class Query(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """What is searched.

    Args:
        kind: The record class.
        scope: Conditions on the record's fields, as for ``find``.
        filter: Conditions that all must hold.
        order: Terms of the order, the first the heaviest; the last must tell any two records apart.
        limit: How many records a page has at most.
        token: Where the page before ended; empty: the first page.
        gives: A class that has some of the record's fields, which the page holds instead: of many runs that costs less.
    """

    kind: type[R]
    scope: tuple[Where, ...] = ()
    filter: tuple[Comparison, ...] = ()
    order: tuple[Order, ...]
    limit: int
    token: str = ""
    gives: type[msgspec.Struct] | None = None


class Page(msgspec.Struct, Generic[R], frozen=True):
    """Records in order, and the token of the next page; empty when this is the last."""

    items: list[R]
    token: str = ""


class Search(Protocol):
    """Finds records."""

    def page(self, query: Query[R]) -> Page[R]:
        """One page. What was there when the first was asked for is on exactly one page, unless it changes meanwhile.

        Raises:
            BadRequest: the kind has no such field or entity, or the token is of another search.
        """

    def count(self, query: Query[R]) -> int:
        """How many records there are on all pages; order, limit and token do not matter.

        Raises:
            BadRequest: the kind has no such field or entity.
        """
