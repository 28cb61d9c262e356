"""Bytes by content."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, Protocol

import msgspec


class Stored(msgspec.Struct, frozen=True):
    """A blob that is there: its size in bytes, and when it was last put, by the clock of the store's machine."""

    digest: str
    size: int
    at: datetime


class Blobs(Protocol):
    """Content-addressed bytes. A blob is there whole or not at all.

    Each method raises ``StoreUnavailable`` where the store does not answer.
    """

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its digest (``sha256:…``); storing the same again changes nothing but its age."""

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, checked against it.

        Raises:
            NotFound: there is no such blob, or what is there is torn or altered.
        """

    def put_file(self, file: BinaryIO) -> str:
        """Store all that a seekable file holds, as ``put`` does, a piece at a time.

        Raises:
            Conflict: it changed while it was read; nothing is stored.
        """

    def open(self, digest: str) -> BinaryIO:
        """A file with the bytes of ``digest``, checked against it as by ``get``, but read a piece at a time.

        Raises:
            NotFound: there is no such blob, or what is there is torn or altered.
        """

    def exists(self, digest: str) -> bool:
        """Whether ``get`` has a chance."""

    def delete(self, digest: str) -> None:
        """Remove a blob; removing none is no error."""

    def discard(self, digest: str, before: datetime) -> bool:
        """Remove a blob unless it was put, once more or for the first time, at ``before`` or later.

        Returns:
            Whether it was removed.
        """

    def stored(self) -> Iterator[Stored]:
        """Every blob, in no order."""
