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
from typing import BinaryIO, Final, NoReturn, cast

from homeostat.domain.errors import BadRequest, Conflict, StoreUnavailable, Unsafe

EMPTY: Final = "/"
_PLAIN: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_PIECE: Final = 1 << 20
MOST: Final = 20_000  # files: each takes memory
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


def read_tree(folder: Path, *, holding: str = "") -> Tree:
    """The files below a folder.

    Args:
        folder: Which.
        holding: A file without which it is not the folder that is wanted.

    Raises:
        BadRequest: it is no folder, lacks that file, or holds what is neither file nor folder.
    """
    if not folder.is_dir():
        raise BadRequest(f"{folder} is no folder", remedy="Name the directory of a model")
    if holding and not (folder / holding).is_file():
        raise BadRequest(
            f"{folder} has no {holding} file", remedy="Name a directory that mlflow.<flavor>.save_model wrote"
        )
    files: dict[str, Opens] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BadRequest(f"{path} is a link", remedy="Replace it with what it leads to")
        if not (path.is_file() or path.is_dir()):
            raise BadRequest(f"{path} is neither a file nor a folder", remedy="Remove it")
        if path.is_file():
            files[name] = cast("Opens", partial(path.open, "rb"))
        elif not any(path.iterdir()):
            files[name + EMPTY] = io.BytesIO
    return Tree(files)


def write_tree(files: Tree, folder: Path) -> None:
    """Write files below a folder, which must be new or empty. They are in it once all are written.

    Until then they are in a hidden folder: beside one that is new, which then appears at once; within one that is
    there, since what is beside it may be another disk's or not for the caller to write to.

    Raises:
        Conflict: it holds something.
        Unsafe: a path leads out of it.
        StoreUnavailable: the disk does not take them.
    """
    check_free(folder)
    for name in files:
        _check(name)
    try:
        new = not folder.exists()
        place = place_by(folder)
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place, prefix=f".{folder.absolute().name}-") as aside:
            made = Path(aside) / "files"  # not the temporary folder itself, which is for its owner alone
            made.mkdir()
            for name in files:
                _write(files, name, made / name)
            if new:
                made.rename(folder)
            else:
                for child in made.iterdir():
                    child.rename(folder / child.name)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write the files to {folder}: {error.strerror}", remedy="Free some space, or name another"
        ) from error


def place_by(folder: Path) -> Path:
    """Where to keep what is to be moved to a folder, so that it is on the same disk; it need not be there yet."""
    return folder if folder.exists() else folder.absolute().parent


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        Conflict: it does, or is no folder.
        StoreUnavailable: it cannot be looked into.
    """
    try:
        # NFS keeps a removed file that is still open under such a name.
        taken = folder.exists() and (
            not folder.is_dir() or not all(child.name.startswith(".nfs") for child in folder.iterdir())
        )
    except OSError as error:
        raise StoreUnavailable(
            f"cannot look into {folder}: {error.strerror}", remedy="Name another folder"
        ) from error
    if taken:
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


class _Entry(tarfile.TarInfo):
    """An entry of a tar file that is no sparse file: the map of one is read whole, however long it is."""

    def _sparse(self, *_: object) -> NoReturn:
        raise BadRequest(
            f"the tar file holds a sparse file: {self.name!r}", remedy="Pack it without --sparse"
        )

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


def from_tar(file: BinaryIO) -> Tree:
    """The files of a tar file, which is looked through before any is given and must stay open; see ``to_tar``.

    Raises:
        BadRequest: it is none, is cut off, or holds links and the like, too many files or a path twice.
        Unsafe: a path leads out of it.
    """
    found: dict[str, tarfile.TarInfo] = {}
    length, size, end = file.seek(0, io.SEEK_END), 0, 0
    file.seek(0)
    limited = _Limited(file)
    try:
        tar = tarfile.open(  # noqa: SIM115 - of a file of the caller's
            fileobj=cast("BinaryIO", limited), mode="r:", tarinfo=_Entry
        )
        while entry := tar.next():
            # What it keeps of each entry would be as much as somebody cares to send.
            if tar.pax_headers:
                raise BadRequest(
                    "the tar file has headers for all of its files", remedy="Pack it without them"
                )
            entry.pax_headers = {}
            tar.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out
            size += entry.size
            end = entry.offset_data + entry.size
            if entry.type not in _PLAIN or entry.issparse() or entry.size < 0:
                raise BadRequest(f"{entry.name!r} is neither a file nor a folder", remedy="Leave it out")
            if max(size, end) > length:
                raise BadRequest(f"the tar file is cut off within {entry.name!r}", remedy="Send all of it")
            if len(found) == MOST:
                raise BadRequest(
                    f"the tar file holds more than {MOST:,} files", remedy="Send a model's alone"
                )
            _check(entry.name)
            name = entry.name if entry.isreg() else entry.name + EMPTY
            if name in found:
                raise BadRequest(f"the tar file holds {entry.name!r} twice", remedy="Send it once")
            found[name] = entry
    except (tarfile.TarError, RecursionError, ValueError) as error:
        raise BadRequest(f"the body is no tar file: {error}", remedy="Send a tar file") from error
    file.seek(-(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    if not found or file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # which mark its end
        raise BadRequest(f"the tar file is cut off after {len(found)} files", remedy="Send all of it")
    limited.most = None
    # What is below a path comes next to it in this order.
    pairs = list(pairwise(sorted(found, key=lambda path: path.replace("/", "\0"))))
    for path, after in pairs:
        if not path.endswith(EMPTY) and after.startswith(f"{path}/"):
            raise BadRequest(f"{path!r} is both a file and a folder in the tar file", remedy="Rename one")
    full = {path for path, after in pairs if path.endswith(EMPTY) and after.startswith(path)}
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
    if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):  # bytes that are no UTF-8
        raise BadRequest(f"{name!r} is no path of a model's file", remedy="Rename it")
