"""Tables as Arrow files, for a store that one process writes and nobody has to read later: a replay's.

A version is one file with the rows that it added, named by its number and by the version it stands on, and is read as
the files of all versions that it stands on. The version of a table that was read last stays in memory as one frame, so
the next costs no more than what it added. A file that is there is whole, but may be gone after a power cut: nothing
waits for the disk.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from homeostat.adapters.tables.columns import conformed
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.refs import is_name

if TYPE_CHECKING:
    import polars as pl

_FIRST: Final = "new"
# Parts of a frame, before they are made one: each costs some microseconds whenever the frame is asked.
_CHUNKS: Final = 8


class ArrowTables:
    """Tables below ``root``; a table is the folder of its name. For one thread of one process.

    Args:
        root: A folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[Path, dict[int, tuple[Path, int | None]]] = {}
        self._read: dict[Path, tuple[list[Path], pl.DataFrame]] = {}

    def append(self, name: str, rows: pl.DataFrame, *, base: int | None) -> int:
        """Add ``rows`` on top of ``base``; new columns are added to the table, null in older rows.

        Raises:
            NotFound: the table has no version ``base``.
            Conflict: a column has another type than in the table.
        """
        folder = self._folder(name)
        before = {} if base is None else self.scan(name, base).collect_schema()
        checked = conformed(name, rows, before)
        version = max(self._versions(folder), default=-1) + 1
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{version}-{_FIRST if base is None else base}.arrow"
        unfinished = file.with_suffix(".part")
        checked.write_ipc(unfinished)
        unfinished.replace(file)
        return version

    def scan(self, name: str, version: int) -> pl.LazyFrame:
        """The rows of ``version``."""
        folder = self._folder(name)
        versions = self._found.get(folder, {})
        if version not in versions:
            versions = self._found[folder] = self._versions(folder)
        if version not in versions:
            raise NotFound(f"table {name} has no version {version} at {folder}")
        files: list[Path] = []
        wanted: int | None = version
        while wanted is not None:
            file, wanted = versions[wanted]
            files.append(file)
        return self._rows(folder, files[::-1]).lazy()

    def drop(self, name: str) -> None:
        """Remove a table."""
        folder = self._folder(name)
        self._found.pop(folder, None)
        self._read.pop(folder, None)
        shutil.rmtree(folder, ignore_errors=True)

    def _rows(self, folder: Path, files: list[Path]) -> pl.DataFrame:
        import polars as pl

        read, rows = self._read.get(folder, ([], pl.DataFrame()))
        if read != files:
            goes_on = read == files[: len(read)]
            parts = [rows] if read and goes_on else []
            parts += [pl.read_ipc(file) for file in files[len(read) if goes_on else 0 :]]
            rows = pl.concat(parts, how="diagonal")
            if rows.n_chunks() > _CHUNKS:
                rows = rows.rechunk()
            self._read[folder] = files, rows
        return rows

    def _versions(self, folder: Path) -> dict[int, tuple[Path, int | None]]:
        """The file of each version, and the version that it stands on."""
        found: dict[int, tuple[Path, int | None]] = {}
        for file in folder.glob("*.arrow"):
            version, _, base = file.stem.partition("-")
            found[int(version)] = file, None if base == _FIRST else int(base)
        return found

    def _folder(self, name: str) -> Path:
        if not is_name(name):
            raise BadRequest(
                f"{name!r} cannot name a table", remedy="Use letters, digits, dot, dash, underscore"
            )
        return self._root / name
