"""Tables as Arrow files, for a store that one process writes and nobody has to read later: a replay's.

A version is one file with the rows that it added, named by its number and by the version it stands on, and is read as
the files of all versions that it stands on. What was read stays in memory, so a scan costs no file. A file that is
there is whole, but may be gone after a power cut: nothing waits for the disk.
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


class ArrowTables:
    """Tables below ``root``; a table is the folder of its name. For one thread of one process.

    Args:
        root: A folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, pl.DataFrame] = {}

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
        self._known[file] = checked
        return version

    def scan(self, name: str, version: int) -> pl.LazyFrame:
        """The rows of ``version``."""
        import polars as pl

        folder = self._folder(name)
        versions = self._versions(folder)
        if version not in versions:
            raise NotFound(f"table {name} has no version {version} at {folder}")
        files: list[Path] = []
        wanted: int | None = version
        while wanted is not None:
            file, wanted = versions[wanted]
            files.append(file)
        parts = [self._rows(file) for file in reversed(files)]
        return pl.concat([part.lazy() for part in parts], how="diagonal")

    def drop(self, name: str) -> None:
        """Remove a table."""
        folder = self._folder(name)
        self._known = {file: rows for file, rows in self._known.items() if file.parent != folder}
        shutil.rmtree(folder, ignore_errors=True)

    def _rows(self, file: Path) -> pl.DataFrame:
        import polars as pl

        if file not in self._known:
            self._known[file] = pl.read_ipc(file)
        return self._known[file]

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
