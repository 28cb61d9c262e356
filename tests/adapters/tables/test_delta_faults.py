"""Tables when a writer is killed, the disk is full, and over hundreds of versions."""

from __future__ import annotations

import json
import os
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


class Disk:
    """A disk that knows what was flushed: a power cut empties all other files, and takes those of unflushed folders."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.flushed: dict[str, int] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._note)

    def _note(self, descriptor: int) -> None:
        self._fsync(descriptor)
        self.flushed[str(Path(f"/proc/self/fd/{descriptor}").readlink())] = os.fstat(descriptor).st_size

    def cut_power(self) -> None:
        for path in sorted(self.root.rglob("*"), reverse=True):
            if str(path.parent) not in self.flushed:
                path.unlink() if path.is_file() else path.rmdir()
            elif path.is_file() and self.flushed.get(str(path)) != path.stat().st_size:
                path.write_bytes(b"")


def test_a_power_cut_takes_no_version_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, tables = Disk(tmp_path / "tables", monkeypatch), DeltaTables(tmp_path / "tables")
    version = tables.append("flights", pl.DataFrame({"base": [-1]}), base=None)
    recorded = [version]
    for turn in range(12):
        if turn in (3, 8):  # a writer whose version nobody recorded, as it died before it flushed
            flushed = dict(disk.flushed)
            unrecorded = tables.append("flights", pl.DataFrame({"base": [99]}), base=version)
            tables.append("flights", pl.DataFrame({"base": [99]}), base=unrecorded)
            disk.flushed = flushed
        version = tables.append("flights", pl.DataFrame({"base": [version]}), base=version)
        recorded.append(version)
    assert list((tmp_path / "tables" / "flights" / "_delta_log").glob("*.checkpoint.parquet"))
    disk.cut_power()
    tables = DeltaTables(tmp_path / "tables")
    for index, version in enumerate(recorded):
        assert _bases(tables, version) == {-1, *recorded[:index]}
    last = tables.append("flights", pl.DataFrame({"base": [version]}), base=version)
    assert _bases(tables, last) == {-1, *recorded}


@pytest.mark.parametrize(
    "torn", ["{version:020}.json", "{version:020}.checkpoint.parquet", "_last_checkpoint"]
)
@pytest.mark.parametrize("left", [0, 100])
@pytest.mark.parametrize("count", [0, 9])
def test_what_a_power_cut_tears_before_it_was_recorded_is_no_version(
    tmp_path: Path, torn: str, left: int, count: int
) -> None:
    tables, base = DeltaTables(tmp_path), None
    for _ in range(count):
        base = tables.append("flights", pl.DataFrame({"base": [1]}), base=base)
    unrecorded = tables.append("flights", pl.DataFrame({"base": [2]}), base=base)
    entry = tmp_path / "flights" / "_delta_log" / torn.format(version=unrecorded)
    if entry.exists():  # the tenth commit writes a checkpoint
        os.truncate(entry, left)
    fresh = DeltaTables(tmp_path)
    if base is not None:
        assert fresh.scan("flights", base).collect()["base"].to_list() == [1] * count
    version = fresh.append("flights", pl.DataFrame({"base": [3]}), base=base)
    assert sorted(fresh.scan("flights", version).collect()["base"].to_list()) == [1] * count + [3]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_commit_that_only_another_engine_reads_is_not_removed(tmp_path: Path, recorded: bool) -> None:
    version = DeltaTables(tmp_path).append("flights", pl.DataFrame({"base": [1]}), base=None)
    entry = tmp_path / "flights" / "_delta_log" / f"{version + 1:020}.json"
    features = {"readerFeatures": ["notYet"], "writerFeatures": ["notYet"]}
    text = json.dumps({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}) + "\n"
    entry.write_text(text)
    with pytest.raises(StoreUnavailable, match="flights"):
        DeltaTables(tmp_path).append(
            "flights", pl.DataFrame({"base": [3]}), base=version if recorded else None
        )
    assert entry.read_text() == text


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
