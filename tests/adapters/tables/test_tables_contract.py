"""What every store of tables promises."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from homeostat.adapters.tables import ArrowTables, DeltaTables
from homeostat.adapters.tables.columns import conformed
from homeostat.domain.errors import BadRequest, Busy, Conflict, NotFound
from homeostat.ports.tables import Tables
from tests.adapters.blobs.s3_server import s3

__all__ = ["s3"]

START = datetime(2024, 1, 1, tzinfo=UTC)


Opened = Callable[[], Tables]


def delta(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    if kind == "file":
        return str(tmp_path / "tables"), {}
    return f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3")


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    return delta(request.param, request, tmp_path)


@pytest.fixture(params=["file", "s3", "arrow"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    if request.param == "arrow":
        return lambda: ArrowTables(tmp_path / "tables")
    place = delta(request.param, request, tmp_path)
    return lambda: DeltaTables(*place)


@pytest.fixture
def tables(opened: Opened) -> Tables:
    return opened()


def rows(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"number": numbers, "at": [START + timedelta(hours=number) for number in numbers]},
        schema={"number": pl.Int64, "at": pl.Datetime("us", "UTC")},
    )


def numbers(tables: Tables, version: int, name: str = "flights") -> list[int]:
    return sorted(tables.scan(name, version).collect()["number"].to_list())


def test_each_version_is_readable_for_ever(tables: Tables) -> None:
    first = tables.append("flights", rows(1, 2), base=None)
    second = tables.append("flights", rows(3), base=first)
    third = tables.append("flights", rows(4), base=second)
    assert first < second < third
    assert numbers(tables, first) == [1, 2]
    assert numbers(tables, second) == [1, 2, 3]
    assert numbers(tables, third) == [1, 2, 3, 4]


def test_many_versions_are_read_in_any_order(tables: Tables) -> None:
    versions: list[int] = []
    for number in range(10):
        base = versions[-1] if versions else None
        versions.append(tables.append("flights", rows(number), base=base))
    for number in (9, 2, 7, 8, 0, 9):
        assert numbers(tables, versions[number]) == list(range(number + 1))


def test_another_opening_sees_and_continues(tables: Tables, opened: Opened) -> None:
    first = tables.append("flights", rows(1), base=None)
    second = opened().append("flights", rows(2), base=first)
    third = tables.append("flights", rows(3), base=second)
    assert numbers(opened(), third) == [1, 2, 3]


def test_what_was_not_recorded_is_undone(tables: Tables, opened: Opened) -> None:
    base = tables.append("flights", rows(1), base=None)
    lost = opened().append("flights", rows(2).with_columns(extra=1.5), base=base)
    lost = opened().append("flights", rows(3), base=lost)
    version = tables.append("flights", rows(4), base=base)
    assert version > lost
    assert numbers(tables, version) == [1, 4]
    assert "extra" not in tables.scan("flights", version).collect_schema()
    assert numbers(tables, tables.append("flights", rows(5), base=version)) == [1, 4, 5]
    assert numbers(tables, base) == [1]


def test_a_new_table_over_what_was_not_recorded_begins_empty(tables: Tables, opened: Opened) -> None:
    opened().append("flights", pl.DataFrame({"number": ["text"], "old": [1]}), base=None)
    version = tables.append("flights", rows(1), base=None)
    assert numbers(tables, version) == [1]
    assert tables.scan("flights", version).collect_schema().names() == ["number", "at"]


@pytest.mark.parametrize("new", [True, False])
def test_writers_on_one_base_get_their_own_rows_or_are_told(
    place: tuple[str, dict[str, str]], new: bool
) -> None:
    base = None if new else DeltaTables(*place).append("flights", rows(0), base=None)
    writers = [DeltaTables(*place) for _ in range(4)]
    together = Barrier(4)

    def write(number: int) -> int | None:
        together.wait()
        try:
            return writers[number].append("flights", rows(number), base=base)
        except Busy:
            return None

    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            written = list(pool.map(write, range(4)))
            assert any(version is not None for version in written)
            for number, version in enumerate(written):
                if version is not None:
                    assert numbers(writers[0], version) == ([number] if new else sorted([0, number]))


def test_what_is_undone_is_not_undone_again_below_who_goes_on_from_there(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"s3://bucket/{uuid.uuid4().hex}"
    tables, other = DeltaTables(place, s3), DeltaTables(place, s3)
    base = tables.append("flights", rows(1), base=None)
    tables.append("flights", rows(2), base=base)

    def late(name: str, frame: pl.DataFrame, columns: Mapping[str, Any]) -> pl.DataFrame:
        """What comes between a look at the table and the commit: another that looks."""
        monkeypatch.undo()
        with pytest.raises(Conflict, match="number"):
            other.append("flights", pl.DataFrame({"number": ["text"]}), base=base)
        return conformed(name, frame, columns)

    monkeypatch.setattr("homeostat.adapters.tables.delta.conformed", late)
    assert numbers(tables, tables.append("flights", rows(3), base=base)) == [1, 3]


def test_who_undoes_does_not_go_on_from_what_another_added_since(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"s3://bucket/{uuid.uuid4().hex}"
    tables, other = DeltaTables(place, s3), DeltaTables(place, s3)
    base = tables.append("flights", rows(1), base=None)
    tables.append("flights", rows(2), base=base)
    restore, theirs = DeltaTable.restore, []

    def overtaken(table: DeltaTable, *arguments: Any, **how: Any) -> Any:
        done = restore(table, *arguments, **how)
        theirs.append(other.append("flights", rows(3), base=base))
        return done

    monkeypatch.setattr(DeltaTable, "restore", overtaken)
    with pytest.raises(Busy, match="flights"):
        tables.append("flights", rows(4), base=base)
    monkeypatch.undo()
    (version,) = theirs
    assert numbers(tables, version) == [1, 3]
    assert numbers(tables, tables.append("flights", rows(5), base=version)) == [1, 3, 5]


def test_a_new_column_is_null_in_older_rows(tables: Tables) -> None:
    first = tables.append("flights", rows(1), base=None)
    second = tables.append("flights", rows(2).with_columns(wind=pl.lit(3.5)), base=first)
    third = tables.append("flights", rows(3), base=second)
    found = tables.scan("flights", third).sort("number").collect()
    assert found["wind"].to_list() == [None, 3.5, None]
    assert "wind" not in tables.scan("flights", first).collect_schema()


def test_columns_come_in_any_order(tables: Tables) -> None:
    first = tables.append("flights", rows(1), base=None)
    second = tables.append("flights", rows(2).select("at", "number"), base=first)
    assert tables.scan("flights", second).sort("number").collect().equals(rows(1, 2))


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([START], dtype=pl.Datetime("ms", "UTC")),
        pl.Series([START], dtype=pl.Datetime("ns", "UTC")),
        pl.Series([START.replace(tzinfo=None)], dtype=pl.Datetime("us")),
        pl.Series([START.astimezone(timezone(timedelta(hours=5)))]).dt.convert_time_zone("America/New_York"),
    ],
    ids=["milliseconds", "nanoseconds", "naive", "elsewhere"],
)
def test_times_are_microseconds_in_utc(tables: Tables, times: pl.Series) -> None:
    version = tables.append("flights", pl.DataFrame({"at": times}), base=None)
    version = tables.append("flights", pl.DataFrame({"at": times}), base=version)
    found = tables.scan("flights", version).collect()["at"]
    assert found.dtype == pl.Datetime("us", "UTC")
    assert found.to_list() == [START, START]


def test_types_that_delta_lacks_are_stored_as_what_holds_them(tables: Tables) -> None:
    frame = pl.DataFrame(
        {
            "category": pl.Series(["a", "b"], dtype=pl.Categorical),
            "choice": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
            "byte": pl.Series([255, 0], dtype=pl.UInt8),
            "word": pl.Series([2**32 - 1, 0], dtype=pl.UInt32),
            "list": pl.Series([["a"], []], dtype=pl.List(pl.Categorical)),
            "flag": [True, None],
        }
    )
    first = tables.append("kinds", frame, base=None)
    second = tables.append("kinds", frame, base=first)
    found = tables.scan("kinds", second).collect()
    assert found.schema["category"] == found.schema["choice"] == pl.String
    assert sorted(found["byte"].to_list()) == [0, 0, 255, 255]
    assert found["word"].max() == 2**32 - 1
    assert found["list"].to_list() == [["a"], [], ["a"], []]


def test_a_column_of_nulls_waits_for_its_type(tables: Tables) -> None:
    nothing = pl.Series("wind", [None], dtype=pl.Null)
    first = tables.append("flights", rows(1).with_columns(nothing), base=None)
    second = tables.append("flights", rows(2).with_columns(wind=pl.lit(1.5)), base=first)
    third = tables.append("flights", rows(3).with_columns(nothing), base=second)
    assert tables.scan("flights", third).sort("number").collect()["wind"].to_list() == [None, 1.5, None]


def test_no_rows(tables: Tables) -> None:
    first = tables.append("flights", rows(), base=None)
    assert tables.scan("flights", first).collect().equals(rows())
    second = tables.append("flights", rows(1), base=first)
    third = tables.append("flights", rows(), base=second)
    assert numbers(tables, third) == [1]


def test_integers_fit_into_floats_but_not_the_other_way(tables: Tables) -> None:
    first = tables.append("flights", pl.DataFrame({"x": [0.5], "n": [1]}), base=None)
    second = tables.append("flights", pl.DataFrame({"x": [2], "n": [3]}), base=first)
    assert sorted(tables.scan("flights", second).collect()["x"].to_list()) == [0.5, 2.0]
    with pytest.raises(Conflict, match="column 'n' of table flights is Int64, and the new rows have Float64"):
        tables.append("flights", pl.DataFrame({"x": [2.0], "n": [3.5]}), base=second)
    with pytest.raises(Conflict, match="'x'"):
        tables.append("flights", pl.DataFrame({"x": ["text"], "n": [3]}), base=second)
    assert tables.scan("flights", tables.append("flights", rows(1), base=second)).collect().height == 3


@pytest.mark.parametrize("kind", [pl.Duration("us"), pl.Time()])
def test_a_type_that_nothing_holds_is_named(tables: Tables, kind: pl.DataType) -> None:
    frame = pl.DataFrame({"odd": pl.Series([1], dtype=pl.Int64).cast(kind)})
    with pytest.raises(BadRequest, match="'odd'"):
        tables.append("flights", frame, base=None)


def test_rows_without_any_type_are_refused(tables: Tables) -> None:
    with pytest.raises(BadRequest, match="no column"):
        tables.append("flights", pl.DataFrame({"a": [None]}), base=None)


def test_what_is_not_there_is_not_found(tables: Tables) -> None:
    with pytest.raises(NotFound, match="flights"):
        tables.scan("flights", 0)
    with pytest.raises(NotFound, match="flights"):
        tables.append("flights", rows(1), base=0)
    version = tables.append("flights", rows(1), base=None)
    for missing in (version + 1, version + 100):
        with pytest.raises(NotFound, match=f"no version {missing}"):
            tables.scan("flights", missing)
        with pytest.raises(NotFound, match=f"no version {missing}"):
            tables.append("flights", rows(1), base=missing)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".", "_delta_log"])
def test_a_name_that_leaves_the_root_is_refused(tables: Tables, name: str) -> None:
    with pytest.raises(BadRequest):
        tables.append(name, rows(1), base=None)


def test_drop_removes_one_table(tables: Tables) -> None:
    kept = tables.append("kept", rows(1), base=None)
    tables.append("flights", rows(1), base=None)
    tables.drop("flights")
    tables.drop("flights")
    with pytest.raises(NotFound):
        tables.scan("flights", 0)
    assert numbers(tables, kept, "kept") == [1]
    again = tables.append("flights", rows(7), base=None)
    assert numbers(tables, again) == [7]


def test_others_read_the_same_directory(place: tuple[str, dict[str, str]]) -> None:
    version = DeltaTables(*place).append("flight-delay.predictions", rows(1, 2), base=None)
    table = DeltaTable(
        f"{place[0]}/flight-delay.predictions", version=version, storage_options=place[1] or None
    )
    # DataFusion reads here: PyArrow's dataset would do, but on S3 it may abort the process at its exit.
    found = QueryBuilder().register("flights", table).execute("select number from flights order by number")
    assert pl.DataFrame(found.read_all())["number"].to_list() == [1, 2]


def test_a_filter_on_time_reads_what_matches_over_many_versions(tables: Tables) -> None:
    version = tables.append("flights", rows(0), base=None)
    for number in range(1, 12):
        version = tables.append("flights", rows(number), base=version)
    wanted = pl.col("at").is_between(START + timedelta(hours=3), START + timedelta(hours=5))
    found = tables.scan("flights", version).filter(wanted).select("number").collect()
    assert sorted(found["number"].to_list()) == [3, 4, 5]


def test_another_engine_between_is_undone(place: tuple[str, dict[str, str]]) -> None:
    tables = DeltaTables(*place)
    base = tables.append("flights", rows(1), base=None)
    write_deltalake(f"{place[0]}/flights", rows(9), mode="append", storage_options=place[1] or None)
    assert numbers(tables, tables.append("flights", rows(2), base=base)) == [1, 2]
