"""An object store that others reach past this process, by addresses that need no keys and hold for an hour."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

import msgspec


class Incoming(msgspec.Struct, frozen=True):
    """An upload of which parts are there: its id, and when the last one came."""

    id: str
    at: datetime


class Direct(Protocol):
    """Takes parts of uploads from whoever has their address, and gives blobs to whoever has theirs.

    Parts lie apart from the blobs until they are removed. An upload's id is 32 hexadecimal digits.
    """

    def address_to(self, upload: str, number: int) -> str:
        """Where a part may be PUT."""

    def address_of(self, digest: str) -> str:
        """Where a blob may be got."""

    def part(self, upload: str, number: int) -> tuple[str, Iterator[bytes]]:
        """A part's entity tag, and its bytes in pieces.

        Raises:
            NotFound: there is none.
        """

    def remove(self, upload: str) -> None:
        """Remove the parts of an upload; removing none is no error."""

    def uploads(self) -> Iterator[Incoming]:
        """Every upload of which parts are there, in no order."""
