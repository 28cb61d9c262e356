"""Tables with versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl


class Tables(Protocol):
    """Append-only tables, each version readable for ever, also one that was undone."""

    def append(self, name: str, rows: pl.DataFrame, *, base: int | None) -> int:
        """Add ``rows`` on top of version ``base`` (None: a new table) and return the new version.

        What stands after ``base``, the trace of a writer that died before it recorded its version, is undone. Of two
        writers who go on from one base each gets a version with its own rows alone, or is told that it is Busy: which
        of the versions counts is for those who record them.

        Raises:
            NotFound: the table has no version ``base``.
            Busy: another writer came between; nothing was added.
        """

    def scan(self, name: str, version: int) -> pl.LazyFrame:
        """The rows of ``version``, in no particular order.

        Raises:
            NotFound: there is no such table or version.
        """

    def drop(self, name: str) -> None:
        """Remove a table with all its versions; removing none is no error."""
