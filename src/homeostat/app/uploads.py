"""Uploads in parts, which senders put into the object store themselves, many at once and past this server.

Only when all parts are there is the file made of them: read once, checked against their entity tags, and kept as
chunks like any other. So a torn upload shows nothing. Nothing is recorded of an upload before; its parts are forgotten
by the next collection of garbage when nobody completes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from homeostat.app import artifacts
from homeostat.app.container import Container
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.tracking import ArtifactFile
from homeostat.ports.direct import Direct

MOST: Final = 10_000
_ID: Final = re.compile(r"[0-9a-f]{32}")


def begin(container: Container, direct: Direct, path: str, parts: int) -> tuple[str, list[str]]:
    """Begin an upload.

    Args:
        container: The ports.
        direct: The object store.
        path: Where the file goes.
        parts: How many there will be, each as long as the sender likes.

    Returns:
        The upload's id, and for each part the address to PUT it to.

    Raises:
        BadRequest: no file can be there, or there are too many parts or none.
        Conflict: a folder is there.
    """
    artifacts.Upload(container, path)
    if not 1 <= parts <= MOST:
        raise BadRequest(f"An upload has 1 to {MOST} parts, and not {parts}", field="num_parts")
    id = os.urandom(16).hex()
    return id, [direct.address_to(id, number) for number in range(1, parts + 1)]


def complete(
    container: Container, direct: Direct, path: str, id: str, parts: Sequence[tuple[int, str]]
) -> ArtifactFile:
    """Make the file of its parts, in place of one that was there.

    Args:
        container: The ports.
        direct: The object store.
        path: Where the file goes.
        id: The upload.
        parts: The number of each part, from 1 on, and the entity tag that the store answered it with; empty: unknown.

    Raises:
        BadRequest: no file can be there, or a part is left out.
        NotFound: there is no such upload, or not all of its parts are there.
        Conflict: a part is not the one that the sender sent, or a folder is there.
    """
    _check(id)
    numbered = dict(parts)
    if not parts or sorted(number for number, _ in parts) != [*range(1, len(parts) + 1)]:
        raise BadRequest("The parts of an upload are numbered from 1 on, each once", field="parts")
    upload = artifacts.Upload(container, path)
    for number in range(1, len(parts) + 1):
        tag, pieces = direct.part(id, number)
        told = numbered[number].strip('"')
        if told and told != tag.strip('"'):
            raise Conflict(
                f"part {number} of the upload {id} is not the one that was sent: its entity tag is {tag}",
                remedy="Send it again",
            )
        for piece in pieces:
            if upload.take(piece):
                upload.put()
    made = upload.finish()
    direct.remove(id)
    return made


def abort(direct: Direct, id: str) -> None:
    """Forget an upload and its parts.

    Raises:
        NotFound: that is no upload.
    """
    _check(id)
    direct.remove(id)


def forget(container: Container, before: datetime) -> None:
    """Remove the parts of uploads to which nothing was added since a time."""
    if container.direct is not None:
        for upload in container.direct.uploads():
            if upload.at < before:
                container.direct.remove(upload.id)


def address(container: Container, direct: Direct, path: str) -> tuple[str, int] | None:
    """Where the file at a path may be got past this server, and how long it is; None where it is in pieces.

    Raises:
        NotFound: there is none.
        BadRequest: the path cannot be, or a folder is there.
    """
    file = artifacts.find(container, path)
    return (direct.address_of(file.chunks[0]), file.size) if len(file.chunks) == 1 else None


def _check(id: str) -> None:
    if not _ID.fullmatch(id):
        raise NotFound(f"there is no upload {id[:40]!r}", remedy="Begin one")
