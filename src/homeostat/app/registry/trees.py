"""Files by path, wherever they are: in a folder, in a tar file, in memory or in the blobs; read a piece at a time.

A path that ends with ``/`` is an empty folder.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, cast

from homeostat.domain.errors import BadRequest, Conflict, StoreUnavailable, Unsafe

EMPTY: Final = "/"
_PLAIN: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_PIECE: Final = 1 << 20
_MOST: Final = 20_000  # files: each takes memory
_NAMES: Final = 1 << 13  # bytes of a file's name and what else is said of it

Opens = Callable[[], BinaryIO]


class Tree(Mapping[str, bytes]):
    """Files by path: ``tree[path]`` is all that one holds, ``tree.open(path)`` gives it a piece at a time.

    Args:
        files: What opens each file, from its beginning and as often as it is asked.
    """

    def __init__(self, files: Mapping[str, Opens]) -> None:
        self._files = files

    def open(self, path: str) -> BinaryIO:
        """A file, at its beginning; the caller closes it."""
        return self._files[path]()

    def __getitem__(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.read()

    def __contains__(self, path: object) -> bool:
        return path in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def held(files: Mapping[str, bytes]) -> Tree:
    """Files that are in memory."""
    return Tree({path: partial(io.BytesIO, data) for path, data in files.items()})


def read_tree(folder: Path) -> Tree:
    """The files below a folder.

    Raises:
        BadRequest: it is no folder, or holds what is neither file nor folder.
    """
    if not folder.is_dir():
        raise BadRequest(f"{folder} is no folder", remedy="Name the directory of a model")
    files: dict[str, Opens] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadRequest(f"{path} is neither a file nor a folder", remedy="Replace it with its content")
        if path.is_file():
            files[name] = cast("Opens", partial(path.open, "rb"))
        elif not any(path.iterdir()):
            files[name + EMPTY] = io.BytesIO
    return Tree(files)


def write_tree(files: Tree, folder: Path) -> None:
    """Write files below a folder, which must be new or empty. They are in it once all are written.

    Raises:
        Conflict: it holds something.
        Unsafe: a path leads out of it.
        StoreUnavailable: the disk does not take them.
    """
    check_free(folder)
    for name in files:
        _check(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.absolute().parent, prefix=f".{folder.absolute().name}-") as made:
            for name in files:
                _write(files, name, Path(made) / name)
            for child in Path(made).iterdir():
                child.rename(folder / child.name)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write the files to {folder}: {error.strerror}", remedy="Free some space, or name another"
        ) from error


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        Conflict: it does, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is there already", remedy="Name a folder that is new or empty")


def _write(files: Tree, name: str, target: Path) -> None:
    if name.endswith(EMPTY):
        target.mkdir(parents=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.open(name) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, _PIECE)


def to_tar(files: Tree, target: BinaryIO) -> None:
    """Write files as a tar file, the same for the same files."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            with files.open(name) as source:
                entry = tarfile.TarInfo(name.removesuffix(EMPTY))
                entry.type = tarfile.DIRTYPE if name.endswith(EMPTY) else tarfile.REGTYPE
                entry.size = source.seek(0, io.SEEK_END)
                source.seek(0)
                tar.addfile(entry, source)


class _Limited(io.RawIOBase):
    """A tar file of which no more is read at once than ``most`` bytes: how long a name is, it says itself."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.most: int | None = _NAMES

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most:
            raise BadRequest("a name in the tar file is too long", remedy="Rename the file")
        return self._file.read(size)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def from_tar(file: BinaryIO) -> Tree:
    """The files of a tar file, which is looked through before any is given and must stay open; see ``to_tar``.

    Raises:
        BadRequest: it is none, is cut off, or holds links and the like.
        Unsafe: a path leads out of it.
    """
    found: dict[str, tarfile.TarInfo] = {}
    length, size, end = file.seek(0, io.SEEK_END), 0, 0
    file.seek(0)
    limited = _Limited(file)
    try:
        tar = tarfile.open(fileobj=cast("BinaryIO", limited), mode="r:")  # noqa: SIM115 - of a file of the caller's
        for entry in tar:
            size += entry.size
            end = entry.offset_data + entry.size
            if entry.type not in _PLAIN or entry.issparse() or entry.size < 0:
                raise BadRequest(f"{entry.name!r} is neither a file nor a folder", remedy="Leave it out")
            if max(size, end) > length:
                raise BadRequest(f"the tar file is cut off within {entry.name!r}", remedy="Send all of it")
            if len(found) == _MOST:
                raise BadRequest(
                    f"the tar file holds more than {_MOST:,} files", remedy="Send a model's alone"
                )
            _check(entry.name)
            found[entry.name if entry.isreg() else entry.name + EMPTY] = entry
    except (tarfile.TarError, RecursionError, ValueError) as error:
        raise BadRequest(f"the body is no tar file: {error}", remedy="Send a tar file") from error
    file.seek(-(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    if not found or file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # which mark its end
        raise BadRequest(f"the tar file is cut off after {len(found)} files", remedy="Send all of it")
    limited.most = None
    # A folder that holds something shows in the paths below it, which come next to it in order.
    paths = sorted(found)
    full = {path for path, after in pairwise(paths) if path.endswith(EMPTY) and after.startswith(path)}
    return Tree(
        {
            path: io.BytesIO if path.endswith(EMPTY) else cast("Opens", partial(tar.extractfile, entry))
            for path, entry in found.items()
            if path not in full
        }
    )


def _check(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise Unsafe(f"{name!r} leads out of the folder", remedy="Do not use it; ask where it comes from")
    if any("\ud800" <= letter <= "\udfff" for letter in name):  # bytes that are no UTF-8
        raise BadRequest(f"{name!r} is no path of a model's file", remedy="Rename it")
