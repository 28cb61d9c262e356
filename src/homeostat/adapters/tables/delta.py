"""Tables in Delta Lake directories, local or on S3.

A version here is a Delta version. Commits that stand after ``base`` were never recorded by the caller; they
are undone by a further commit, because another engine may have read them; those that a power cut tore, which nobody can
read, are removed. So versions skip numbers, and a version is only ever read by its own number. Nothing is vacuumed and
no log is expired: every version stays readable.

Writers of one table take turns on one machine. Those of several meet in the log, where a commit that is not the next
one fails: one that Delta Lake would put behind another's commit would hold the rows of both.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from homeostat.adapters.tables.columns import conformed
from homeostat.domain.errors import BadRequest, Busy, NotFound, StoreUnavailable
from homeostat.domain.refs import is_name

if TYPE_CHECKING:
    import polars as pl
    from deltalake import CommitProperties, DeltaTable

_CONFIGURATION: Final = {
    "delta.checkpointInterval": "10",
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


_PARQUET: Final = b"PAR1"
_MADE: Final = "A table already exists at"  # a plain DeltaError says so


class DeltaTables:
    """Tables below ``root``. Safe for threads and processes.

    Args:
        root: A folder or ``s3://bucket/prefix``; a table is the directory of its name.
        storage_options: ``AWS_*`` variables, when the root is on S3.
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        self._root = str(root).rstrip("/")
        self._remote = "://" in self._root
        self._options = dict(storage_options or {})
        if self._remote:
            # A commit creates its log entry only where none is: the store's own If-None-Match.
            self._options = {"AWS_CONDITIONAL_PUT": "etag"} | self._options
        self._handles: dict[str, DeltaTable] = {}
        self._turns: dict[str, Lock] = {}

    def append(self, name: str, rows: pl.DataFrame, *, base: int | None) -> int:
        """Add ``rows`` on top of ``base``; new columns are added to the table, null in older rows.

        Raises:
            NotFound: the table has no version ``base``.
            Conflict: a column has another type than in the table.
            Busy: another writer came between; nothing was added.
            StoreUnavailable: the disk or the object store does not take it; the table is as it was.
        """
        from deltalake import PostCommitHookProperties, write_deltalake

        uri = self._uri(name)
        with _answering(name, self._root), self._turn(name):
            table = self._standing_at(name, base)
            # The handle may be spoiled when a commit fails; it is kept again once this one has succeeded.
            self._handles.pop(name, None)
            version = table.version() + 1 if table else 0
            if table is None:
                how: dict[str, Any] = {
                    "mode": "error",
                    "storage_options": self._options,
                    "configuration": _CONFIGURATION,
                }
                checked = conformed(name, rows, {})
            elif base is None:
                # What stands there was never recorded. Its versions stay for whoever reads them.
                how = {"mode": "overwrite", "schema_mode": "overwrite"}
                checked = conformed(name, rows, {})
            else:
                how = {"mode": "append", "schema_mode": "merge"}
                checked = conformed(name, rows, _columns(table, self._options))
            hooks = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
            write_deltalake(
                table or uri,
                checked,
                commit_properties=_next_or_none(),
                post_commithook_properties=hooks,
                **how,
            )
            if table is None:
                table = self._fresh(name)
            else:
                table.update_incremental()
            if not self._remote:
                _make_durable(Path(uri), base, version)
            self._handles[name] = table
            return version  # the table may have gone on from there

    def scan(self, name: str, version: int) -> pl.LazyFrame:
        """The rows of ``version``; a filter reads only the files whose statistics allow a match."""
        import polars as pl
        from deltalake.exceptions import DeltaError

        uri = self._uri(name)
        with _answering(name, self._root):
            try:
                table = self._fresh(name, version)
            except DeltaError as error:
                if not self._has(name) or self._fresh(name).version() < version:
                    raise NotFound(f"table {name} has no version {version} at {uri}") from error
                raise
            return pl.scan_delta(table, storage_options=self._options or None)

    def drop(self, name: str) -> None:
        """Remove a table; its log goes first, so that what a crash leaves is no table."""
        uri = self._uri(name)
        with _answering(name, self._root), self._turn(name):
            self._handles.pop(name, None)
            if self._remote:
                _delete_objects(uri, self._options)
            elif Path(uri).exists():
                doomed = Path(uri).rename(Path(self._root) / f".dropped-{name}-{secrets.token_hex(8)}")
                shutil.rmtree(doomed)

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """While the block lasts, nobody else on this machine writes the table, if it is local, nor in this process."""
        with self._turns.setdefault(name, Lock()):
            if self._remote:
                yield
                return
            folder = Path(self._uri(name))
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _standing_at(self, name: str, base: int | None) -> DeltaTable | None:
        """The table, whose latest state is that of ``base``; without a base the table as it is, or None."""
        if base is None:
            return self._newest(name, None) if self._has(name) else None
        table = self._handles.get(name)
        if table is None:
            if not self._has(name):
                raise NotFound(f"there is no table {name} in {self._root}")
            table = self._newest(name, base)
        else:
            table.update_incremental()
        if table is None or table.version() != base:
            table = self._fresh(name)
        if not 0 <= base <= table.version():
            raise NotFound(f"table {name} has no version {base}; its last is {table.version()}")
        if table.version() > base and not _undone(table, base):
            table.restore(base, commit_properties=_next_or_none())
            table = self._fresh(name, table.version())  # not what another may have added since
        return table

    def _newest(self, name: str, base: int | None) -> DeltaTable | None:
        """The table as it is, without what was torn after ``base``; None when nothing is left of it."""
        from deltalake.exceptions import DeltaError

        try:
            return self._fresh(name)
        except DeltaError:
            if self._remote:
                raise
            if base is not None:
                self._fresh(name, base)  # fails too where it is not what came after that is torn
            later = _entries_after(Path(self._uri(name)), base)
            if not any(map(_torn, later)):
                raise  # whole, but not for this reader
            for path in sorted(later, reverse=True):
                path.unlink()
            return None if base is None else self._fresh(name)

    def _has(self, name: str) -> bool:
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self._uri(name), storage_options=self._options or None)

    def _fresh(self, name: str, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable

        return DeltaTable(self._uri(name), version=version, storage_options=self._options or None)

    def _uri(self, name: str) -> str:
        if not is_name(name):
            raise BadRequest(
                f"{name!r} cannot name a table", remedy="Use letters, digits, dot, dash, underscore"
            )
        return f"{self._root}/{name}"


def _next_or_none() -> CommitProperties:
    """A commit that fails where another one came after what it goes on from."""
    from deltalake import CommitProperties

    return CommitProperties(max_commit_retries=0)


def _undone(table: DeltaTable, base: int) -> bool:
    """Whether the table's last commit went back to ``base``. To do so again would take another's base from under it."""
    from deltalake.exceptions import DeltaError

    try:
        commits = table.history(1)  # and those that came since
    except DeltaError:  # torn, beside a checkpoint that is whole
        return False
    return any(
        commit["version"] == table.version()
        and commit["operation"] == "RESTORE"
        and commit["operationParameters"].get("version") == str(base)
        for commit in commits
    )


def _columns(table: DeltaTable, options: dict[str, str]) -> Mapping[str, Any]:
    import polars as pl

    return pl.scan_delta(table, storage_options=options or None).collect_schema()


def _entries_after(folder: Path, base: int | None) -> list[Path]:
    """What the log of a table holds of versions after ``base``: commits, checkpoints and the hint at the newest one."""
    first = f"{0 if base is None else base + 1:020}"
    return [path for path in (folder / "_delta_log").iterdir() if path.name >= first and path.is_file()]


def _torn(path: Path) -> bool:
    """Whether an entry of a table's log is not whole: commits and the hint are JSON, checkpoints Parquet."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return not (data.startswith(_PARQUET) and data.endswith(_PARQUET))
    try:
        return not [json.loads(line) for line in data.splitlines()]
    except ValueError:
        return True


def _make_durable(folder: Path, base: int | None, version: int) -> None:
    """Flush what a version is read from: the caller records it only when a power cut cannot take it away.

    Of ``version`` that is the data too. What else came after ``base`` is undone, but its log is read, and who wrote it
    may have died before it was flushed.
    """
    log = folder / "_delta_log"
    written = {folder, log, *_entries_after(folder, base)}
    if base is None:
        written |= {folder.parent, folder.parent.parent}
    for line in (log / f"{version:020}.json").read_text("utf-8").splitlines():
        action = json.loads(line)
        if "add" in action:
            written.add(folder / action["add"]["path"])
    for path in written:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _delete_objects(uri: str, options: dict[str, str]) -> None:
    from obstore.store import S3Store

    known = {k: v for k, v in options.items() if k not in ("AWS_ALLOW_HTTP", "AWS_CONDITIONAL_PUT")}
    allow_http = options.get("AWS_ALLOW_HTTP") == "true"
    store = S3Store.from_url(uri, config=known, client_options={"allow_http": allow_http})  # type: ignore[arg-type]
    paths = [entry["path"] for page in store.list() for entry in page]
    for chosen in (
        [path for path in paths if path.startswith("_delta_log/")],
        [path for path in paths if not path.startswith("_delta_log/")],
    ):
        if chosen:
            store.delete(chosen)


@contextmanager
def _answering(name: str, root: str) -> Iterator[None]:
    from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

    try:
        yield
    except CommitFailedError as error:
        raise _between(name, error) from error
    except TableNotFoundError as error:
        raise NotFound(f"there is no table {name} in {root}") from error
    except (DeltaError, OSError) as error:
        if _MADE in str(error):
            raise _between(name, error) from error
        raise StoreUnavailable(
            f"table {name} in {root} cannot be used: {_first_line(error)}",
            remedy="Check space, rights and credentials; homeostat doctor tries them",
        ) from error


def _between(name: str, error: Exception) -> Busy:
    return Busy(f"another writer changed table {name}: {_first_line(error)}", remedy="Try again")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
