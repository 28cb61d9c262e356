"""Where records live. State and the events that describe its change are committed together or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

from homeostat.domain.events import Event
from homeostat.domain.records import Record

R = TypeVar("R", bound=Record)
Where = tuple[str, Literal["=", "!=", "<", "<=", ">", ">=", "in"], Any]


class Reads(Protocol):
    """Reading records, by key or by condition."""

    def get(self, kind: type[R], *key: Any) -> R | None:
        """The record with this key, in the order of ``KEY``; None when there is none."""

    def find(
        self, kind: type[R], *where: Where, order: Sequence[str] = (), limit: int | None = None
    ) -> list[R]:
        """Records that meet every condition, ordered by fields (``-field`` for descending), then by key."""

    def pick(self, kind: type[R], fields: Sequence[str], *where: Where) -> Sequence[Sequence[Any]]:
        """Some fields of the records that meet every condition, in no order: of very many that costs less."""

    def count(self, kind: type[R], *where: Where) -> int:
        """How many records meet every condition."""


class Transaction(Reads, Protocol):
    """One unit of work. Reads see its own writes."""

    def insert(self, *records: Record) -> None:
        """Add records.

        Raises:
            Conflict: a record with the same key exists.
        """

    def put(self, *records: Record, by: Sequence[str] = ()) -> None:
        """Add records, or replace those with the same key.

        With ``by``, fields that are compared one after the other (None is the least), a stored record stays as it is
        unless the given one is greater.
        """

    def update(self, kind: type[R], values: Mapping[str, Any], *where: Where) -> int:
        """Set fields of the records that meet every condition; returns how many."""

    def delete(self, kind: type[R], *where: Where) -> int:
        """Remove the records that meet every condition; returns how many."""

    def lock(self, kind: type[R], *key: Any, shared: bool = False) -> R | None:
        """Read a record that nobody else changes, or makes where it is None, until this transaction ends.

        (Who makes it without asking for the lock is not held back.) ``shared`` locks do not hold up each other, only
        those who mean to change the record.
        """

    def append(self, *events: Event) -> None:
        """Add events to the ledger, in the order given, when this transaction commits."""


class MetaStore(Reads, Protocol):
    """The store of records."""

    def begin(self) -> AbstractContextManager[Transaction]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises:
            StoreUnavailable: the database does not answer.
        """

    def at_once(self) -> AbstractContextManager[None]:
        """While the block lasts, transactions of this thread raise Busy where they would wait.

        Raises:
            Busy: every one of them would, for it takes asking a server.
        """

    def close(self) -> None:
        """Give back every connection."""
