"""Going through what a source has, one thing after the other: what fails is told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec

from homeostat.app.importing.summary import Summary
from homeostat.domain.errors import BadRequest, HomeostatError, NotInstalled, StoreUnavailable
from homeostat.ports.sources import Columns, Item, SourceFile

T = TypeVar("T")
# What a reader runs into where a file holds what no program would write there.
_ODD: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class Progress(msgspec.Struct, frozen=True):
    """How far it is: so many runs of so many, and what comes next, or what of it; nothing does at the end."""

    done: int
    total: int
    next: str


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except _ODD as error:
        raise BadRequest(f"it is damaged: {type(error).__name__}: {error}") from error


def loaded(item: Item[T]) -> T:
    """Something that a source has.

    Raises:
        HomeostatError: the source is damaged there.
    """
    with _reading():
        return item.load()


def each(read: Iterable[T]) -> Iterator[T]:
    """What a source reads by and by, such as the points of a run.

    Raises:
        HomeostatError: the source is damaged there.
    """
    with _reading():
        yield from read


class Steps:
    """Goes through a source.

    Args:
        total: How many runs it has.
        summary: Where to tell what failed.
        tell: Is told before each thing.
    """

    def __init__(self, total: int, summary: Summary, tell: Callable[[Progress], None]) -> None:
        self._total, self._summary, self._tell = total, summary, tell
        self._done, self._next = 0, ""

    def take(self, items: Iterable[Item[T]], act: Callable[[T], None], *, runs: bool = False) -> None:
        """Do something with each of some things; with ``runs``, they count as progress.

        Raises:
            StoreUnavailable: a store does not answer, and nothing would come of going on.
            NotInstalled: a library is missing, for each of them.
        """
        for item in items:
            self._next = item.name
            self._tell(Progress(self._done, self._total, item.name))
            try:
                act(loaded(item))
            except (StoreUnavailable, NotInstalled):
                raise
            except HomeostatError as error:
                self._summary.fail(item.name, error.message)
            self._done += runs

    def points(self, given: Iterable[Columns]) -> Iterator[Columns]:
        """Points on their way, of which the progress tells how many came: one run may take most of the time."""
        count = 0
        for columns in given:
            count += len(columns.key)
            self._tell(Progress(self._done, self._total, f"{self._next}: {count:,} points"))
            yield columns

    def files(self, given: Iterable[SourceFile]) -> Iterator[SourceFile]:
        """Files on their way, of which the progress tells which one is next."""
        for file in given:
            self._tell(Progress(self._done, self._total, f"{self._next}: {file.path}"))
            yield file

    def end(self) -> None:
        """Tell that nothing comes any more."""
        self._tell(Progress(self._done, self._total, ""))
