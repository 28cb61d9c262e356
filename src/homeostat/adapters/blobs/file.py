"""Blobs in folders of this machine.

A blob is written to a temporary name in its own folder, flushed to the disk and renamed, so that a crash at
any moment leaves it whole or absent. What a crash may leave is a temporary file, which nothing reads.

A file's time of change says when its blob was last put. A lock on the root folder keeps ``discard`` from removing what
a ``put`` has just found there.
"""

from __future__ import annotations

import fcntl
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from homeostat.adapters.blobs.layout import Unchanged, altered, digest_at, missing, place_of
from homeostat.domain.digests import digest_bytes, digest_file
from homeostat.domain.errors import NotFound, StoreUnavailable
from homeostat.ports.blobs import Stored

_PIECE: Final = 1 << 20
_REMEDY: Final = "Check that disk and the rights there, or move the blobs with HOMEOSTAT_BLOBS"


class FileBlobs:
    """Blobs below ``root``, which need not exist yet. Safe for many processes and threads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, data: bytes) -> str:
        """Store ``data``; what is there already is kept if it is whole and replaced if not.

        Raises:
            StoreUnavailable: the disk does not take it; nothing is left behind.
        """
        digest = digest_bytes(data)
        self._keep(digest, io.BytesIO(data))
        return digest

    def put_file(self, file: BinaryIO) -> str:
        """Store what a file holds, as ``put`` does.

        Raises:
            Conflict: it changed while it was read.
            StoreUnavailable: the disk does not take it; nothing is left behind.
        """
        digest = digest_file(file)
        self._keep(digest, Unchanged(file, digest))
        return digest

    def _keep(self, digest: str, source: io.BytesIO | Unchanged) -> None:
        target = self._root / place_of(digest)
        remedy = "Free some space there, or move the blobs with HOMEOSTAT_BLOBS"
        with self._answering(f"write blob {digest}", remedy):
            if not self._renewed(target) or not self._whole(digest):
                self._write(target, source)

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, checked against it.

        Raises:
            StoreUnavailable: the disk does not give it.
        """
        path = self._root / place_of(digest)
        with self._answering(f"read blob {digest}"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                raise missing(digest) from None
        if digest_bytes(data) != digest:
            raise altered(digest, str(path))
        return data

    def open(self, digest: str) -> BinaryIO:
        """A file with the bytes of ``digest``, checked against it.

        Raises:
            StoreUnavailable: the disk does not give it.
        """
        path = self._root / place_of(digest)
        with self._answering(f"read blob {digest}"):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                raise missing(digest) from None
            try:
                if digest_file(file) != digest:
                    raise altered(digest, str(path))
            except BaseException:
                file.close()
                raise
        return file

    def exists(self, digest: str) -> bool:
        """Whether there is a file for ``digest``; its content is not read."""
        with self._answering(f"look for blob {digest}"):
            return (self._root / place_of(digest)).is_file()

    def delete(self, digest: str) -> None:
        """Remove a blob.

        Raises:
            StoreUnavailable: the disk does not let it go.
        """
        with self._answering(f"remove blob {digest}"):
            (self._root / place_of(digest)).unlink(missing_ok=True)

    def discard(self, digest: str, before: datetime) -> bool:
        """Remove a blob unless it was put at ``before`` or later; says whether it did.

        Raises:
            StoreUnavailable: the disk does not let it go.
        """
        target = self._root / place_of(digest)
        with self._answering(f"remove blob {digest}"):
            try:
                with self._locked(fcntl.LOCK_EX):
                    if target.stat().st_mtime >= before.timestamp():
                        return False
                    target.unlink()
            except FileNotFoundError:
                return False
        return True

    def stored(self) -> Iterator[Stored]:
        """Every blob with its size and age.

        Raises:
            StoreUnavailable: the disk does not tell.
        """
        with self._answering("list the blobs"):
            for path in self._root.glob("??/??/*"):
                if digest := digest_at(path.relative_to(self._root).as_posix()):
                    try:
                        found = path.stat()
                    except FileNotFoundError:  # removed meanwhile
                        continue
                    yield Stored(digest, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _renewed(self, target: Path) -> bool:
        """Whether the file is there, and from now on counts as put just now."""
        try:
            with self._locked(fcntl.LOCK_SH):
                os.utime(target)
        except FileNotFoundError:
            return False
        return True

    def _whole(self, digest: str) -> bool:
        try:
            self.open(digest).close()
        except NotFound:
            return False
        return True

    @contextmanager
    def _answering(self, doing: str, remedy: str = _REMEDY) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"cannot {doing} below {self._root}: {error.strerror or error}", remedy=remedy
            ) from error

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _write(self, target: Path, source: io.BytesIO | Unchanged) -> None:
        made = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name[:16]}-{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                shutil.copyfileobj(source, file, _PIECE)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # A rename is durable once its folder is, and a new folder once the one that holds it is.
        for folder in {target.parent, *(new.parent for new in made)}:
            _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
