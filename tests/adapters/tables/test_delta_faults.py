"""Tables when a writer is killed, the disk is full, and over hundreds of versions."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from homeostat.adapters.tables import DeltaTables
from homeostat.domain.errors import StoreUnavailable

WRITER = """
import sys
import polars as pl
from homeostat.adapters.tables import DeltaTables
tables, base = DeltaTables(sys.argv[1]), int(sys.argv[2])
while True:
    base = tables.append("flights", pl.DataFrame({"base": [base] * 1000}), base=base)
    print(base, flush=True)
"""


def _bases(tables: DeltaTables, version: int) -> set[int]:
    return set(tables.scan("flights", version).collect()["base"].to_list())


def test_a_killed_writer_leaves_every_recorded_version_and_is_undone(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    recorded = [tables.append("flights", pl.DataFrame({"base": [-1]}), base=None)]
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(recorded[-1])]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        recorded += [int(writer.stdout.readline()) for _ in range(4)]
        writer.send_signal(signal.SIGKILL)
        writer.stdout.close()
        writer.wait()
    for index, version in enumerate(recorded):
        assert _bases(tables, version) == {-1, *recorded[:index]}
    last = tables.append("flights", pl.DataFrame({"base": [recorded[-1]]}), base=recorded[-1])
    assert _bases(tables, last) == {-1, *recorded}


def test_a_full_disk_is_an_error_and_the_table_as_it_was(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    first = tables.append("flights", pl.DataFrame({"base": [1.0]}), base=None)
    much = pl.DataFrame({"base": pl.Series(range(500_000), dtype=pl.Float64).hash(3).cast(pl.Float64)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match="flights"):
            tables.append("flights", much, base=first)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tables.scan("flights", first).collect()["base"].to_list() == [1.0]
    second = tables.append("flights", pl.DataFrame({"base": [2.0]}), base=first)
    assert sorted(tables.scan("flights", second).collect()["base"].to_list()) == [1.0, 2.0]


def test_a_spoiled_log_is_no_missing_version(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    version = tables.append("flights", pl.DataFrame({"base": [1]}), base=None)
    (tmp_path / "flights" / "_delta_log" / f"{version:020}.json").write_text("{ torn")
    with pytest.raises(StoreUnavailable, match="flights"):
        tables.scan("flights", version)


def test_a_checkpoint_bounds_the_log_that_an_opening_reads(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    version = tables.append("flights", pl.DataFrame({"base": [-1]}), base=None)
    versions = [version]
    for _ in range(60):
        version = tables.append("flights", pl.DataFrame({"base": [version]}), base=version)
        versions.append(version)
    assert len(list((tmp_path / "flights" / "_delta_log").glob("*.checkpoint.parquet"))) == 6
    fresh = DeltaTables(tmp_path)
    for index in (0, 8, 9, 10, 50, 60):
        assert fresh.scan("flights", versions[index]).collect().height == index + 1
