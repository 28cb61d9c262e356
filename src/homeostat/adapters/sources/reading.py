"""What readers of sources share: files of a folder, texts, times, what a damaged place is called, and having no models.

Links that lead out of the folder being read are followed only on request: the folder may be somebody else's, and what
they lead to mine.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.ports.sources import Item, Missing, SourceFile, SourceLoggedModel, SourceModel

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
PIECE: Final = 1 << 20
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class RunsAlone:
    """What a source has beside runs where nothing else is: no models, folders that cannot be read, nothing open."""

    _unread: Sequence[Missing] = ()

    def logged_models(self) -> Iterator[Item[SourceLoggedModel]]:
        """None."""
        return iter(())

    def models(self) -> Iterator[Item[SourceModel]]:
        """None."""
        return iter(())

    def missing(self) -> Iterable[Missing]:
        """Folders that cannot be read; all else is told with the runs."""
        return self._unread

    def close(self) -> None:
        """Nothing is open."""


def files_of(
    folder: Path, missing: list[Missing], *, below: str = "", links: bool = False
) -> Iterator[SourceFile]:
    """The files of a folder and of those in it, by path; what cannot be read is told in ``missing``.

    Args:
        folder: Where to look; one that is not there has none.
        missing: Where to tell it.
        below: A path that goes before those of the files.
        links: Whether to follow links to files outside.
    """
    root = folder.resolve()
    for path in _walk(root, root, missing, links):
        name = path.relative_to(root).as_posix()
        yield SourceFile(f"{below}/{name}" if below else name, path.stat().st_size, _reader(path))


def files_named(root: Path, pattern: str, missing: list[Missing]) -> list[Path]:
    """The files below a folder whose names fit; a folder that cannot be read is told in ``missing``."""

    def tell(error: OSError) -> None:
        missing.append(Missing(str(error.filename), f"it cannot be read: {error.strerror}"))

    found = os.walk(root, onerror=tell)
    return [Path(folder, name) for folder, _, names in found for name in fnmatch.filter(names, pattern)]


def file_at(path: Path, name: str) -> SourceFile:
    """One file, under another name."""
    return SourceFile(name, path.stat().st_size, _reader(path))


def _reader(path: Path) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        except OSError as error:
            raise damaged(path, error.strerror or str(error)) from error

    return read


def _walk(folder: Path, root: Path, missing: list[Missing], links: bool = False) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        missing.append(Missing(str(folder), error.strerror or str(error)))
        return
    for entry in entries:
        path = Path(entry.path)
        outside = entry.is_symlink() and not path.resolve().is_relative_to(root)
        if outside and not links:
            missing.append(
                Missing(str(path), "it is a link that leads out of its folder: --links follows it")
            )
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root, missing, links)
        elif entry.is_file():
            yield path
        else:
            missing.append(
                Missing(str(path), "it is no file" if path.exists() else "it is a link to nothing")
            )


def texts_of(folder: Path) -> dict[str, str]:
    """The files of a folder as texts, by path: how MLflow keeps parameters and tags.

    Raises:
        BadRequest: one cannot be read, or is no UTF-8.
    """
    return {path.relative_to(folder).as_posix(): text_of(path) for path in files_in(folder)}


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and of those in it, by path; one that is not there has none.

    Raises:
        BadRequest: a folder cannot be read, or something in it is no file.
    """
    missing: list[Missing] = []
    found = list(_walk(folder, folder.resolve(), missing))
    if missing:
        raise damaged(Path(missing[0].subject), missing[0].reason)
    return found


def text_of(path: Path) -> str:
    """A file as text.

    Raises:
        BadRequest: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise damaged(path, "it is no UTF-8") from error


def folders_of(folder: Path) -> list[Path]:
    """The folders in a folder, by name; none where it is not there.

    Raises:
        BadRequest: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise damaged(folder, error.strerror or str(error)) from error


def local(uri: str, base: Path) -> Path | None:
    """The folder that a URI or a path of another program names on this machine; None where it is elsewhere."""
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path))
    return None if _SCHEME.match(uri) else base / uri


def moment(milliseconds: Any, what: str) -> datetime | None:
    """A time told as milliseconds since 1970; None where none is.

    Raises:
        BadRequest: it is no such time.
    """
    if milliseconds is None:
        return None
    try:
        return EPOCH + timedelta(milliseconds=int(milliseconds))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"{what} is {milliseconds!r}, which is no time") from error


def json_texts(value: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as names with dots and texts, as Python would print them; a list is JSON."""
    for key, inner in value.items():
        name = f"{parent}.{key}" if parent else key
        if isinstance(inner, dict) and inner:
            yield from json_texts(inner, name)
        elif isinstance(inner, (dict, list)):
            yield name, msgspec.json.encode(inner).decode()
        else:
            yield name, str(inner)


def damaged(path: Path, why: str) -> BadRequest:
    """The error for a part of a source that cannot be read."""
    return BadRequest(f"{path} cannot be read: {why}")
