"""The embedded online store under growth, forks, kill -9, a full disk and a crash of the machine."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from homeostat.adapters.online import LmdbOnline
from homeostat.domain.errors import StoreUnavailable

WRITER = """
import sys
from pathlib import Path
from homeostat.adapters.online import LmdbOnline
store = LmdbOnline(Path(sys.argv[1]))
number = store.position("view")
while True:
    number += 1
    store.write("view", {b"%d" % key: b"%d" % number * 100 for key in range(200)}, number)
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_all_of_a_write_or_none(tmp_path: Path) -> None:
    acknowledged = -1
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(20):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().splitlines())])
        writer.stdout.close()
        writer.wait()
        with contextlib.closing(LmdbOnline(tmp_path)) as store:
            position = store.position("view")
            assert position in (acknowledged, acknowledged + 1)
            values = store.read([("view", b"%d" % key) for key in range(200)])
            assert set(values) == {b"%d" % position * 100}
            store.write("other", {b"a": b"1"}, 1)


def test_the_map_grows_under_readers_in_threads_and_processes(tmp_path: Path) -> None:
    store, other = LmdbOnline(tmp_path, map_size=1 << 16), LmdbOnline(tmp_path)
    store.write("view", {b"a": b"1"}, 0)
    done = threading.Event()
    wrong: list[bytes | None] = []

    def read() -> None:
        while not done.wait(0.001):
            wrong.extend(value for value in other.read([("view", b"a")]) if value != b"1")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from homeostat.adapters.online import LmdbOnline\n"
            "store = LmdbOnline(Path(sys.argv[1]), map_size=1 << 16); print('open', flush=True)\n"
            "sys.stdin.read(); print(store.position('view'), len(store.read([('view', b'49')])[0]))",
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"open\n"
    for number in range(50):
        store.write("view", {b"%d" % number: b"x" * 50_000}, number)
    done.set()
    for thread in threads:
        thread.join()
    assert reader.communicate()[0] == b"49 50000\n"
    assert wrong == []
    store.close()
    other.close()


def test_a_forked_child_reads_and_writes(tmp_path: Path) -> None:
    with contextlib.closing(LmdbOnline(tmp_path)) as store:
        store.write("view", {b"a": b"1"}, 1)
        child = os.fork()
        if not child:
            seen = store.read([("view", b"a")]) == [b"1"]
            store.write("view", {b"a": b"2"}, 2)
            store.close()
            os._exit(0 if seen else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.read([("view", b"a")]) == [b"2"]
        store.write("view", {b"a": b"3"}, 3)


def test_another_boot_of_the_machine_empties_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(LmdbOnline(tmp_path)) as store:
        store.write("view", {b"a": b"1"}, 1)
    monkeypatch.setattr("homeostat.adapters.online.lmdb.boot_id", lambda: "another")
    with contextlib.closing(LmdbOnline(tmp_path)) as store:
        assert store.position("view") == -1
        assert store.read([("view", b"a")]) == [None]
        store.write("view", {b"a": b"2"}, 2)
    with contextlib.closing(LmdbOnline(tmp_path)) as store:
        assert store.position("view") == 2


def test_a_full_disk_is_an_error_and_the_store_as_it_was(tmp_path: Path) -> None:
    with contextlib.closing(LmdbOnline(tmp_path)) as store:
        store.write("view", {b"a": b"1"}, 1)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 17, limits[1]))
        try:
            with pytest.raises(StoreUnavailable):
                store.write("view", {b"%d" % number: b"x" * 10_000 for number in range(100)}, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert store.position("view") == 1
        assert store.read([("view", b"a"), ("view", b"5")]) == [b"1", None]
        store.write("view", {b"a": b"3"}, 3)
        assert store.position("view") == 3


def test_a_spoiled_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    LmdbOnline(tmp_path).close()
    (tmp_path / "data.mdb").write_bytes(b"\x01" * 8192)
    with pytest.raises(StoreUnavailable, match="built again"):
        LmdbOnline(tmp_path)


def test_more_readers_than_there_is_room_for_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeostat.adapters.online.lmdb._READERS", 1)
    with contextlib.closing(LmdbOnline(tmp_path)) as store:
        store.write("view", {b"a": b"1"}, 1)
        child = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import lmdb, sys; env = lmdb.open(sys.argv[1])\n"
                "with env.begin(): print('reads', flush=True); sys.stdin.read()",
                str(tmp_path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"reads\n"
        for ask in (lambda: store.read([("view", b"a")]), lambda: store.position("view")):
            with pytest.raises(StoreUnavailable, match="READERS_FULL"):
                ask()
        child.communicate()
        assert store.read([("view", b"a")]) == [b"1"]


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.position("view")
