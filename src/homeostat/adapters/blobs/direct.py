"""Signed addresses of an S3-compatible object store, by obstore; parts of uploads are below ``incoming/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

from homeostat.adapters.blobs.layout import place_of
from homeostat.adapters.blobs.s3 import answering, open_store
from homeostat.domain.errors import NotFound
from homeostat.ports.direct import Incoming

_HOLDS: Final = timedelta(hours=1)
_FOLDER: Final = "incoming"
_PIECE: Final = 1 << 20


class S3Direct:
    """The object store at ``url`` (``s3://bucket/prefix``), where the blobs are.

    Args:
        url: The bucket and a prefix.
        options: As for ``S3Blobs``.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._store = open_store(url, dict(options or {}))

    def address_to(self, upload: str, number: int) -> str:
        """Where a part may be PUT."""
        return self._signed("PUT", _place(upload, number))

    def address_of(self, digest: str) -> str:
        """Where a blob may be got."""
        return self._signed("GET", place_of(digest))

    def part(self, upload: str, number: int) -> tuple[str, Iterator[bytes]]:
        """A part's entity tag, and its bytes in pieces."""
        with answering(self._url):
            try:
                found = self._store.get(_place(upload, number))
            except FileNotFoundError:
                raise NotFound(
                    f"part {number} of the upload {upload} is not there",
                    remedy="Send it, and then complete the upload",
                ) from None
            return found.meta["e_tag"] or "", self._pieces(found.stream(min_chunk_size=_PIECE))

    def remove(self, upload: str) -> None:
        """Remove the parts of an upload."""
        with answering(self._url):
            for page in self._store.list(f"{_FOLDER}/{upload}"):
                self._store.delete([entry["path"] for entry in page])

    def uploads(self) -> Iterator[Incoming]:
        """Every upload of which parts are there."""
        last: dict[str, datetime] = {}
        with answering(self._url):
            for page in self._store.list(_FOLDER):
                for entry in page:
                    id = entry["path"].split("/")[1]
                    last[id] = max(last.get(id, entry["last_modified"]), entry["last_modified"])
        return (Incoming(id, at) for id, at in last.items())

    def _pieces(self, stream: Iterator[object]) -> Iterator[bytes]:
        with answering(self._url):
            for piece in stream:
                yield bytes(piece)  # type: ignore[call-overload]  # a buffer of Rust's

    def _signed(self, method: Literal["GET", "PUT"], place: str) -> str:
        from obstore import sign

        with answering(self._url):
            return sign(self._store, method, place, _HOLDS)


def _place(upload: str, number: int) -> str:
    return f"{_FOLDER}/{upload}/{number:05d}"
