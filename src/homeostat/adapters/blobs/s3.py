"""Blobs in an S3-compatible object store, by obstore. An upload becomes visible whole, as S3 promises.

A ``put`` always uploads: so the object's age is that of the last one, in one request. S3 has no removal upon a
condition, so one that is put again in the moment between the two requests of ``discard`` is lost.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

from homeostat.adapters.blobs.layout import Unchanged, altered, digest_at, missing, place_of
from homeostat.adapters.disk import kept
from homeostat.domain.digests import digest_bytes, digest_file
from homeostat.domain.errors import HomeostatError, NotFound, StoreUnavailable
from homeostat.ports.blobs import Stored

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

_PART: Final = 8 << 20
_PARTS: Final = 9_000  # S3 takes 10,000 at most
_AT_ONCE: Final = 4


class S3Blobs:
    """Blobs below ``url`` (``s3://bucket/prefix``).

    Args:
        url: The bucket and a prefix.
        options: ``AWS_*`` variables: keys, region, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._store = open_store(url, dict(options or {}))

    def put(self, data: bytes) -> str:
        """Store ``data``.

        Raises:
            StoreUnavailable: the object store does not take it.
        """
        digest = digest_bytes(data)
        with answering(self._url):
            self._store.put(place_of(digest), data)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, checked against it."""
        with answering(self._url):
            try:
                data = bytes(self._store.get(place_of(digest)).bytes())
            except FileNotFoundError:
                raise missing(digest) from None
        if digest_bytes(data) != digest:
            raise altered(digest, self._url)
        return data

    def put_file(self, file: BinaryIO) -> str:
        """Store what a file holds, in parts where it is large; it appears once all are there.

        Raises:
            Conflict: it changed while it was read.
            StoreUnavailable: the object store does not take it.
        """
        digest = digest_file(file)
        part = max(_PART, file.seek(0, io.SEEK_END) // _PARTS)
        file.seek(0)
        source = Unchanged(file, digest)
        try:
            with answering(self._url):
                self._store.put(
                    place_of(digest), cast("IO[bytes]", source), chunk_size=part, max_concurrency=_AT_ONCE
                )
        except StoreUnavailable:
            source.check()
            raise
        return digest

    def open(self, digest: str) -> BinaryIO:
        """The bytes of ``digest``, checked against it, in a temporary file of this machine.

        Raises:
            StoreUnavailable: the object store does not give it, or the disk of this machine does not take it.
        """
        remedy = "Free some space there, or name a folder that has some with TMPDIR"
        with kept(f"blob {digest} of {self._url}", None, remedy) as file:
            file.writelines(self._pieces(digest))
            if digest_file(file) != digest:
                raise altered(digest, self._url)
        return file

    def _pieces(self, digest: str) -> Iterator[bytes | memoryview]:
        # What is done with a piece is not done within: an error of it is none of the object store's.
        with answering(self._url):
            try:
                yield from self._store.get(place_of(digest)).stream(_PART)
            except FileNotFoundError:
                raise missing(digest) from None

    def exists(self, digest: str) -> bool:
        """Whether there is an object for ``digest``; its content is not read."""
        with answering(self._url):
            try:
                self._store.head(place_of(digest))
            except FileNotFoundError:
                return False
        return True

    def delete(self, digest: str) -> None:
        """Remove a blob."""
        with answering(self._url):
            try:
                self._store.delete(place_of(digest))
            except FileNotFoundError:
                return

    def discard(self, digest: str, before: datetime) -> bool:
        """Remove a blob unless it was put at ``before`` or later; says whether it did."""
        place = place_of(digest)
        with answering(self._url):
            try:
                if self._store.head(place)["last_modified"] >= before:
                    return False
                self._store.delete(place)
            except FileNotFoundError:
                return False
        return True

    def stored(self) -> Iterator[Stored]:
        """Every blob with its size and age."""
        with answering(self._url):
            for page in self._store.list():
                for entry in page:
                    if digest := digest_at(entry["path"]):
                        yield Stored(digest, entry["size"], entry["last_modified"])


def open_store(url: str, options: dict[str, str]) -> S3Store:
    """The object store at a URL; options are ``AWS_*`` variables."""
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise HomeostatError(
            f"{url} needs the library obstore", remedy="Install it: pip install 'homeostat[s3]'"
        ) from error
    allow_http = options.pop("AWS_ALLOW_HTTP", "") == "true"
    return S3Store.from_url(
        url,
        config=cast("S3Config", options),
        client_options={"allow_http": allow_http, "timeout": "60s", "connect_timeout": "5s"},
        retry_config={"max_retries": 4},
    )


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Tell of a store that fails as of one that is not there.

    Raises:
        StoreUnavailable: it failed.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except NotFound:
        raise
    except (BaseError, OSError) as error:
        raise StoreUnavailable(
            f"the object store at {url} does not answer: {str(error).splitlines()[0]}",
            remedy="Check the bucket, AWS_ENDPOINT_URL and the AWS_* keys; homeostat doctor tries them",
        ) from error
