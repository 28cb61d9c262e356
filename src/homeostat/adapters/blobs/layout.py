"""What every store of blobs shares: where a blob lies, ``ab/cd/<64 hexadecimal digits>``, and how it is checked."""

from __future__ import annotations

import hashlib
import io
import re
from typing import BinaryIO, Final

from homeostat.domain.errors import Conflict, NotFound

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLACE: Final = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")


def place_of(digest: str) -> str:
    """The path of a blob below the root.

    Raises:
        NotFound: ``digest`` is none, so nothing can be stored under it.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise NotFound(f"{digest!r} is no digest", remedy="Write sha256: and 64 hexadecimal digits")
    name = digest.removeprefix("sha256:")
    return f"{name[:2]}/{name[2:4]}/{name}"


def digest_at(place: str) -> str | None:
    """The digest of the blob at a path; None for what is no blob, such as a temporary file."""
    match = _PLACE.fullmatch(place)
    return f"sha256:{match[3]}" if match else None


def missing(digest: str) -> NotFound:
    """The error for a blob that is not there."""
    return NotFound(f"there is no blob {digest}")


def altered(digest: str, where: str) -> NotFound:
    """The error for bytes that are not those of their digest."""
    return NotFound(
        f"blob {digest} is torn or altered at {where}", remedy="Store it again, or restore it from a backup"
    )


class Unchanged(io.RawIOBase):
    """A file that is read a second time, from its beginning to its end, where it must have been what its digest says.

    Args:
        file: It.
        digest: What it had at the first reading.
    """

    def __init__(self, file: BinaryIO, digest: str) -> None:
        self._file, self._digest = file, digest
        self._seen = hashlib.sha256()
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """More of it.

        Raises:
            Conflict: this is its end, and it changed since.
        """
        piece = self._file.read(size)
        self._seen.update(piece)
        self._ended = not piece
        self.check()
        return piece

    def check(self) -> None:
        """Say so if it has changed; for who hears of another error where ``read`` raised one.

        Raises:
            Conflict: it did.
        """
        if self._ended and f"sha256:{self._seen.hexdigest()}" != self._digest:
            raise Conflict("a file changed while it was read", remedy="Ask again once nothing writes to it")

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of the file."""
        return self._file.tell()
