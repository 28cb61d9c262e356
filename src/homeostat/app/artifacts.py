"""Artifacts: files of runs and logged models, kept as chunks in the blobs, in memory never more than one chunk.

A file's chunks are in the blobs before its record is written, in one transaction that replaces the one before: so a
file is there whole or not at all, and a reader of the old one reads it to its end. What is removed or replaced frees
its bytes at the next collection (``homeostat.app.garbage``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.domain.digests import digest_of
from homeostat.domain.errors import BadRequest, Conflict, NotFound, StoreUnavailable
from homeostat.domain.events import Event
from homeostat.domain.tracking import ArtifactFile
from homeostat.engine.tracking.places import Place, clean, owner_of, place_of
from homeostat.ports.blobs import Blobs
from homeostat.ports.meta import Reads, Transaction, Where

CHUNK: Final = 16 << 20
_PAGE: Final = 500
_LONG: Final = 3600.0  # seconds after which chunks are looked for again: a collection may have come past


class Entry(msgspec.Struct, frozen=True):
    """A file or a folder in a listing; ``size`` is None of a folder."""

    name: str
    size: int | None = None


class Upload:
    """A file on its way in, visible once it is finished.

    ``take`` costs nothing; ``put`` and ``finish`` wait for disk and store.

    Args:
        container: The ports.
        path: Where it goes.

    Raises:
        BadRequest: no file can be there.
    """

    def __init__(self, container: Container, path: str) -> None:
        cleaned = clean(path)
        if not cleaned or path.endswith("/"):
            raise BadRequest(
                f"Invalid path {path!r}: it must include a filename (cannot end with '/')", field="path"
            )
        self._container = container
        self._place = place_of(cleaned)
        _check_file(self._place)
        self._began = container.clock.monotonic()
        self._parts: list[bytes] = []
        self._held = 0
        self._full: list[list[bytes]] = []
        self._size = 0
        self._chunks: list[str] = []

    def take(self, data: bytes) -> bool:
        """Take the next bytes; says whether ``put`` is due."""
        rest = memoryview(data)
        while self._held + len(rest) >= CHUNK:
            cut = CHUNK - self._held
            self._full.append([*self._parts, bytes(rest[:cut])])
            self._parts, self._held, rest = [], 0, rest[cut:]
        if rest:
            self._parts.append(data if len(rest) == len(data) else bytes(rest))
            self._held += len(rest)
        return bool(self._full)

    def put(self) -> None:
        """Put the full chunks among what was taken into the blobs."""
        while self._full:
            self._keep(b"".join(self._full.pop(0)))

    def finish(self) -> ArtifactFile:
        """Make the file visible, in place of one that was there.

        Raises:
            Conflict: a folder is there, or a file where it needs a folder.
        """
        self.put()
        if self._held:
            self._keep(b"".join(self._parts))
            self._parts, self._held = [], 0
        self._check_chunks()
        with self._container.store.begin() as tx:
            return put_in(self._container, tx, self._place.full, self._chunks, self._size)

    def _keep(self, chunk: bytes) -> None:
        self._chunks.append(self._container.blobs.put(chunk))
        self._size += len(chunk)

    def _check_chunks(self) -> None:
        if self._container.clock.monotonic() - self._began < _LONG:
            return
        if not all(map(self._container.blobs.exists, set(self._chunks))):
            raise StoreUnavailable(
                f"parts of {self._place.full!r} were removed while it came in", remedy="Send it again, faster"
            )


def write(container: Container, path: str, data: bytes) -> ArtifactFile:
    """Keep ``data`` as the file at a path, in place of one that was there.

    Raises:
        BadRequest: no file can be there.
        Conflict: a folder is there, or a file where it needs a folder.
    """
    upload = Upload(container, path)
    upload.take(data)
    return upload.finish()


def put_in(
    container: Container, tx: Transaction, path: str, chunks: Sequence[str], size: int
) -> ArtifactFile:
    """Record the file at a path, in an open transaction; its chunks are in the blobs.

    Args:
        container: The ports.
        tx: The transaction.
        path: Where it goes.
        chunks: One blob of any size, or more of which all but the last have ``CHUNK`` bytes.
        size: How long they are together.

    Raises:
        BadRequest: the path cannot be.
        Conflict: a folder is there, or a file where it needs a folder.
    """
    place = place_of(clean(path))
    _check_file(place)
    # Two that come at once, one below the other's name, do not see each other; their first names are the same.
    tx.lock(ArtifactFile, place.root, place.path.partition("/")[0])
    _check_free(tx, place)
    file = ArtifactFile(
        root=place.root, path=place.path, size=size, chunks=list(chunks), at=container.clock.now()
    )
    tx.put(file)
    return file


def find(container: Container, path: str) -> ArtifactFile:
    """The file at a path.

    Raises:
        NotFound: there is none.
        BadRequest: the path cannot be, or a folder is there.
    """
    place = place_of(clean(path))
    found = container.store.get(ArtifactFile, place.root, place.path)
    if found is not None:
        return found
    if not place.path or next(_entries(container.store, place), None) is not None:
        raise BadRequest(f"Artifact path refers to a directory, not a file: {path!r}", field="path")
    raise NotFound(f"No such artifact: {path!r}")


def listing(container: Container, path: str) -> list[Entry]:
    """What is in the folder at a path, by name; nothing when there is no such folder.

    Raises:
        BadRequest: the path cannot be.
    """
    return sorted(_entries(container.store, place_of(clean(path))), key=lambda entry: entry.name)


def walk(container: Container, path: str) -> list[tuple[str, int]]:
    """Every file below the folder of an owner, in no order: its path below the owner, and its bytes.

    Raises:
        BadRequest: the path cannot be.
    """
    place = place_of(clean(path))
    below: list[Where] = [("root", "=", place.root), *_below("path", place.path)]
    return [(name, size) for name, size in container.store.pick(ArtifactFile, ["path", "size"], *below)]


def etag(file: ArtifactFile) -> str:
    """A digest of the file's content."""
    return file.chunks[0] if len(file.chunks) == 1 else digest_of(file.chunks)


def content(
    container: Container, file: ArtifactFile, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The bytes of a file from ``start`` up to ``end``, a chunk at a time, each checked against its digest.

    Raises:
        NotFound: a chunk is torn or gone.
    """
    end = file.size if end is None else min(end, file.size)
    if len(file.chunks) == 1 and file.size > CHUNK:
        yield from _pieces(container.blobs, file.chunks[0], start, end)
        return
    for number, digest in enumerate(file.chunks):
        first = number * CHUNK
        if first >= end:
            return
        if start < first + CHUNK:
            chunk = container.blobs.get(digest)
            yield chunk[max(start - first, 0) : end - first]


def _pieces(blobs: Blobs, digest: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes of one blob from ``start`` up to ``end``; those of models may have any size."""
    with blobs.open(digest) as blob:
        blob.seek(start)
        while piece := blob.read(min(CHUNK, end - start)):
            yield piece
            start += len(piece)


def remove(container: Container, path: str, *, actor: str = "user") -> int:
    """Remove the file at a path, or all below it; removing nothing is no error.

    Returns:
        How many files that was.

    Raises:
        BadRequest: the path cannot be, or would be everything.
    """
    cleaned = clean(path)
    if not cleaned:
        raise BadRequest("Invalid path '': that would be every artifact", field="path")
    with container.store.begin() as tx:
        return remove_in(container, tx, cleaned, actor=actor)


def remove_in(container: Container, tx: Transaction, path: str, *, actor: str) -> int:
    """Remove the file at a clean path, or all below it, in an open transaction; returns how many files that was."""
    place = place_of(path)
    count = tx.delete(ArtifactFile, ("root", "=", place.root), *_below("path", place.path))
    if place.path:
        count += tx.delete(ArtifactFile, ("root", "=", place.root), ("path", "=", place.path))
    if not place.root:
        count += tx.delete(ArtifactFile, *_below("root", place.path))
    if count:
        tx.append(
            Event(
                kind="artifacts.removed",
                subject=owner_of(place.root) or "artifacts",
                at=container.clock.now(),
                actor=actor,
                body={"path": path, "files": count},
            )
        )
    return count


def _entries(store: Reads, place: Place) -> Iterator[Entry]:
    """What is in a folder; each folder in it once for each kind of row that shows it."""
    yield from _children(store, "path", place.path, ("root", "=", place.root))
    if not place.root:
        seen = set()
        for entry in _children(store, "root", place.path):
            if entry.name not in seen:
                seen.add(entry.name)
                yield entry


def _children(store: Reads, field: str, folder: str, *where: Where) -> Iterator[Entry]:
    """The names next below a folder. Of a folder among them, at most a page of what it holds is read."""
    prefix = f"{folder}/" if folder else ""
    reached: list[Where] = _below(field, folder)
    last = ""
    while True:
        rows = store.find(ArtifactFile, *where, *reached, order=[field], limit=_PAGE)
        for row in rows:
            value: str = getattr(row, field)
            name, inner, _ = value[len(prefix) :].partition("/")
            if not inner and field == "path":
                yield Entry(name, row.size)
            elif name != last:
                yield Entry(name)
            last = name if inner else ""
        if len(rows) < _PAGE:
            return
        beyond: Where = (field, ">=", f"{prefix}{last}0") if last else (field, ">", value)
        reached = [*_below(field, folder), beyond]


def _below(field: str, folder: str) -> list[Where]:
    """Conditions for what lies below a folder: "0" is the character after "/"."""
    return [(field, ">=", f"{folder}/"), (field, "<", f"{folder}0")] if folder else [(field, ">", "")]


def _check_file(place: Place) -> None:
    if not place.path:
        raise _is_folder(place.root)


def _check_free(tx: Transaction, place: Place) -> None:
    """Refuse a file where a folder is, or below a file."""
    same: Where = ("root", "=", place.root)
    if tx.find(ArtifactFile, same, *_below("path", place.path), limit=1) or (
        not place.root and tx.find(ArtifactFile, *_below("root", place.path), limit=1)
    ):
        raise _is_folder(place.full)
    for root, path in ((place.root, place.path), *([("", f"{place.root}/")] if place.root else [])):
        parents = _parents(path)
        if parents and (
            taken := tx.find(ArtifactFile, ("root", "=", root), ("path", "in", parents), limit=1)
        ):
            raise Conflict(
                f"There is a file at {Place(root, taken[0].path).full!r}, so nothing can be below it",
                remedy="Remove it, or take another path",
            )


def _parents(path: str) -> list[str]:
    names = path.split("/")[:-1]
    return ["/".join(names[:count]) for count in range(1, len(names) + 1)]


def _is_folder(path: str) -> Conflict:
    return Conflict(f"There is a folder at {path!r}, so no file can be", remedy="Take another path")
