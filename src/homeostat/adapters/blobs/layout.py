"""Where a blob lies under the root, the same in every store: ``ab/cd/<64 hexadecimal digits>``."""

from __future__ import annotations

import re
from typing import Final

from homeostat.domain.errors import NotFound

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
