"""Bytes by content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Blobs(Protocol):
    """Content-addressed bytes. A blob is there whole or not at all."""

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its digest (``sha256:…``); storing the same again changes nothing."""

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, checked against it.

        Raises:
            NotFound: there is no such blob, or what is there is torn or altered.
        """

    def exists(self, digest: str) -> bool:
        """Whether ``get`` has a chance."""

    def delete(self, digest: str) -> None:
        """Remove a blob; removing none is no error."""

    def digests(self) -> Iterator[str]:
        """Every blob's digest, in no order."""
