"""The embedded online store: one LMDB environment, read by many processes and written by one at a time.

A write is one LMDB transaction with its position, so a killed process leaves all of it or none. Commits are
not flushed to the disk: after a crash of the machine itself the store is emptied at the next opening, every
position reads -1, and the features are built anew from the tables. Where the kernel has no boot id, commits
are flushed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, RLock
from typing import TYPE_CHECKING, Final

from homeostat.adapters.online.boot import boot_id, of_this_boot
from homeostat.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    import lmdb

_LONGEST: Final = 511
_READERS: Final = 1024


@dataclass
class _Shared:
    """The one environment of this process for a folder (LMDB forbids a second), and who uses it."""

    path: Path
    map_size: int
    env: lmdb.Environment | None = None
    users: int = 0
    active: int = 0
    wanted: int = 0
    gate: Condition = field(default_factory=Condition)


_open: dict[Path, _Shared] = {}
_opening = RLock()


def _before_fork() -> None:
    """Close every environment, as LMDB's cannot outlive a fork; both sides open theirs at the next use."""
    _opening.acquire()
    for shared in _open.values():
        shared.gate.acquire()
        _await_idle(shared)
        _close(shared)


def _after_fork() -> None:
    for shared in _open.values():
        shared.gate.release()
    _opening.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class LmdbOnline:
    """The store in ``path``. Safe for threads and over a fork.

    Args:
        path: The folder.
        map_size: Bytes of address space to begin with; doubled whenever the data fill it.
    """

    def __init__(self, path: Path, *, map_size: int = 1 << 28) -> None:
        self._path = path.absolute()
        with _opening:
            self._shared: _Shared | None = _open.setdefault(self._path, _Shared(self._path, map_size))
            self._shared.users += 1
        try:
            with self._reading():
                pass
        except StoreUnavailable:
            self.close()
            raise

    def position(self, view: str) -> int:
        """The position of the last write to ``view``, or -1."""
        with self._reading() as transaction:
            found = transaction.get(_position_key(view))
        return -1 if found is None else int.from_bytes(found, "big", signed=True)

    def write(self, view: str, entries: Mapping[bytes, bytes], position: int) -> None:
        """Set entries and position in one transaction.

        Raises:
            StoreUnavailable: the disk does not take it; the store is as it was.
        """

        def apply(transaction: lmdb.Transaction[bytes]) -> None:
            for key, value in entries.items():
                transaction.put(_key(view, key), value)
            transaction.put(_position_key(view), position.to_bytes(8, "big", signed=True))

        self._change(apply)

    def read(self, keys: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
        """The values at one moment, in order.

        Raises:
            StoreUnavailable: the file cannot be read, or more read it at once than it has room for.
        """
        with self._reading() as transaction:
            return [transaction.get(_key(view, key)) for view, key in keys]

    def clear(self, view: str) -> None:
        """Forget a view and its position in one transaction."""
        name = view.encode()

        def apply(transaction: lmdb.Transaction[bytes]) -> None:
            transaction.delete(_position_key(view))
            with transaction.cursor() as cursor:
                found = cursor.set_range(name + b"\x00")
                while found and cursor.key()[: len(name) + 1] in (name + b"\x00", name + b"\x01"):
                    found = cursor.delete()

        self._change(apply)

    def close(self) -> None:
        """Close the environment when this was its last user in the process."""
        with _opening:
            shared, self._shared = self._shared, None
            if shared is None:
                return
            shared.users -= 1
            if not shared.users:
                del _open[self._path]
                with shared.gate:
                    _await_idle(shared)
                    _close(shared)

    def _current(self) -> _Shared:
        if self._shared is None:
            raise StoreUnavailable(f"the online store at {self._path} is closed")
        return self._shared

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        import lmdb

        shared = self._current()
        try:
            with _active(shared) as env:
                try:
                    transaction = env.begin()
                except lmdb.MapResizedError:
                    transaction = None
                if transaction is not None:
                    with transaction:
                        yield transaction
                    return
            _resize(shared, 0)
            with _active(shared) as env, env.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise _unusable(self._path, error) from error

    def _change(self, apply: Callable[[lmdb.Transaction[bytes]], None]) -> None:
        import lmdb

        shared = self._current()
        while True:
            try:
                with _active(shared) as env:
                    # A reader that was killed would hold back the space of every later change.
                    env.reader_check()
                    size = env.info()["map_size"]
                    with env.begin(write=True) as transaction:
                        apply(transaction)
                return
            except lmdb.MapFullError:
                _resize(shared, size * 2)
            except lmdb.MapResizedError:
                _resize(shared, 0)
            except lmdb.Error as error:
                raise _unusable(self._path, error) from error


@contextmanager
def _active(shared: _Shared) -> Iterator[lmdb.Environment]:
    """The environment, kept open and its map in place while it is used."""
    with shared.gate:
        shared.gate.wait_for(lambda: not shared.wanted)
        if shared.env is None:
            shared.env = _environment(shared)
        shared.active += 1
        env = shared.env
    try:
        yield env
    finally:
        with shared.gate:
            shared.active -= 1
            if not shared.active:
                shared.gate.notify_all()


def _await_idle(shared: _Shared) -> None:
    """Wait, holding the gate, until nobody uses the environment; newcomers let the one who waits go first."""
    shared.wanted += 1
    try:
        shared.gate.wait_for(lambda: not shared.active)
    finally:
        shared.wanted -= 1
        shared.gate.notify_all()


def _environment(shared: _Shared) -> lmdb.Environment:
    import lmdb

    boot = boot_id()
    try:
        with of_this_boot(shared.path, boot):
            return lmdb.open(
                str(shared.path),
                map_size=shared.map_size,
                max_readers=_READERS,
                sync=not boot,
                metasync=not boot,
                readahead=False,
            )
    except (lmdb.Error, OSError) as error:
        raise _unusable(shared.path, error) from error


def _close(shared: _Shared) -> None:
    if shared.env is not None:
        shared.env.close()
        shared.env = None


def _resize(shared: _Shared, size: int) -> None:
    """Give the map a new size (0: that which another process gave it) once no transaction uses it."""
    import lmdb

    with shared.gate:
        _await_idle(shared)
        if shared.env is not None and (not size or size > shared.env.info()["map_size"]):
            try:
                shared.env.set_mapsize(size)
            except lmdb.Error as error:
                raise _unusable(shared.path, error) from error


def _key(view: str, key: bytes) -> bytes:
    full = b"%b\x00%b" % (view.encode(), key)
    return full if len(full) <= _LONGEST else b"%b\x01%b" % (view.encode(), hashlib.sha256(key).digest())


def _position_key(view: str) -> bytes:
    return b"\x00" + view.encode()


def _unusable(path: Path, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the online store at {path} cannot be used: {error}",
        remedy="Free some space, or stop Homeostat and remove the folder: it is built again from the tables",
    )
