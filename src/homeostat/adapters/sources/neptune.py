"""What neptune-exporter wrote: Parquet files of one long table (a row an attribute, or a point of a series), and files.

https://github.com/neptune-ai/neptune-exporter describes the columns. Series of texts and histograms become files of
JSON lines; steps, which are decimals there, stay what they are where they are whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from homeostat.adapters.sources.reading import (
    EPOCH,
    RunsAlone,
    damaged,
    file_at,
    files_named,
    files_of,
)
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import Run
from homeostat.ports.sources import (
    Columns,
    Item,
    Missing,
    SourceExperiment,
    SourceFile,
    SourceRun,
)

PATTERN: Final = "*part_*.parquet"
_SINGLE: Final = ("float", "int", "string", "bool", "datetime", "string_set")
_SERIES: Final = {"string_series": "string_value", "histogram_series": "histogram_value"}
_FILES: Final = ("file", "file_set", "artifact", "file_series")
_ID: Final = re.compile(r"[A-Za-z0-9][\w-]{0,255}")
_VALUES: Final = tuple(f"{kind}_value" for kind in _SINGLE)
_COMMON: Final = ("attribute_path", "attribute_type", "step", "timestamp")
_NEEDED: Final = frozenset({"project_id", "run_id", "file_value", *_COMMON, *_VALUES, *_SERIES.values()})
_ROWS: Final = 1 << 16  # no more than series can be numbered
_DECIMALS: Final = 6


@dataclass
class _Place:
    """Where a run's rows are: files, those of this run alone first; and whose they are."""

    project: str
    run: str
    own: list[Path] = field(default_factory=list)
    shared: list[Path] = field(default_factory=list)


class NeptuneExport(RunsAlone):
    """Reads an export of Neptune; see the port.

    Args:
        root: The folder of the Parquet files, or the one above it, or one of the files.
        files: The folder of the files; None: ``files`` beside the Parquet files' or in the root.
    """

    kind = "Neptune export"

    def __init__(self, root: Path, files: Path | None = None) -> None:
        self._files = files or next(
            (path for path in (root / "files", root.parent / "files") if path.is_dir()), None
        )
        self._runs: dict[tuple[str, str], _Place] = {}
        self._damaged: dict[str, BadRequest] = {}
        self._unread = list[Missing]()
        for path in sorted([root] if root.is_file() else files_named(root, PATTERN, self._unread)):
            try:
                rows = _runs_in(path)
            except BadRequest as error:
                self._damaged[_parts(path)] = error
                continue
            for project, run in sorted(rows):
                place = self._runs.setdefault((project, run), _Place(project, run))
                (place.own if len(rows) == 1 else place.shared).append(path)
        if self._damaged and not self._runs:
            raise next(iter(self._damaged.values()))

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """Each project."""
        for name in sorted({project for project, _ in self._runs}):
            yield Item(f"project {name}", partial(SourceExperiment, key=name, name=name))

    def count(self) -> int:
        """How many runs there are; files that cannot be read count as one."""
        return len(self._runs) + len(self._lost())

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run."""
        for (project, run), place in sorted(self._runs.items()):
            yield Item(f"run {project}/{run}", partial(self._run, place))
        for parts, error in self._lost():
            yield Item(f"runs in {parts}part_*.parquet", partial(_fail, error))

    def _lost(self) -> list[tuple[str, BadRequest]]:
        """Files that cannot be read and tell of no run that another one tells of."""
        told = {_parts(path) for place in self._runs.values() for path in (*place.own, *place.shared)}
        return [(parts, error) for parts, error in self._damaged.items() if parts not in told]

    def _run(self, place: _Place) -> SourceRun:
        for path in (*place.own, *place.shared):
            if error := self._damaged.get(_parts(path)):
                raise error  # it would come without what that part holds
        single = {
            (row["attribute_path"], row["attribute_type"]): value
            for row in _select(place, _SINGLE, *_VALUES)
            if (value := row.get(f"{row['attribute_type']}_value")) is not None
        }
        system = {path: value for (path, _), value in single.items() if path.startswith("sys/")}
        params = {path: _text(value) for (path, _), value in single.items() if path not in system}
        missing: list[Missing] = []
        subject = f"run {place.project}/{place.run}"
        factor = _factor(place)
        if factor > 1:
            missing.append(Missing(subject, f"its steps are fractions, and came multiplied by {factor:,}"))
        spare = hashlib.sha256(f"{place.project}\n{place.run}".encode()).hexdigest()[:32]
        mark = {"neptune.project": place.project, "neptune.run": place.run}
        started = _moment(system.get("sys/creation_time"))
        ended = _moment(system.get("sys/modification_time")) or _moment(system.get("sys/ping_time"))
        return SourceRun(
            run=Run(
                id=place.run if _ID.fullmatch(place.run) else spare,
                kind="run",
                name=str(system.get("sys/custom_run_id") or place.run),
                state="failed" if system.get("sys/failed") else "succeeded",
                actor=str(system.get("sys/owner") or ""),
                created_at=started or EPOCH,
                started_at=started,
                ended_at=ended or started,
                deleted_at=(ended or started or EPOCH) if system.get("sys/trashed") else None,
            ),
            experiment=place.project,
            params=params,
            tags=mark | _tags(system),
            points=partial(_points, place, factor, started or EPOCH),
            files=partial(self._each_file, place, missing, subject),
            mark=mark,
            spare=spare,
            missing=missing,
        )

    def _each_file(self, place: _Place, missing: list[Missing], subject: str) -> Iterator[SourceFile]:
        for row in _select(place, _FILES, "file_value"):
            value = row.get("file_value")
            if value is None or value.get("path") is None:
                continue
            name = str(row["attribute_path"])
            if row["step"] is not None and row["attribute_type"] == "file_series":
                name = f"{name}/step_{row['step'].normalize():f}"
            path = self._file(place, str(value["path"]))
            if path is None:
                missing.append(Missing(subject, f"file {value['path']} is not in the export"))
            elif path.is_dir():
                yield from files_of(path, missing, below=name)
            else:
                yield file_at(path, name if Path(name).suffix else f"{name}{path.suffix}")
        for kind in _SERIES:
            for name in _paths(place, kind):
                read = partial(_lines, place, kind, name)
                yield SourceFile(f"{name}.jsonl", sum(map(len, read())), read)

    def _file(self, place: _Place, path: str) -> Path | None:
        """A file of the export, which says where it is relative to all files or to those of its project."""
        if self._files is None:
            return None
        root = self._files.resolve()
        folders = {parquet.parent.name for parquet in (*place.own, *place.shared)}
        for base in (root, *(root / name for name in sorted(folders))):
            found = (base / path).resolve()
            if found.exists() and found.is_relative_to(root):
                return found
        return None


def _runs_in(path: Path) -> list[tuple[str, str]]:
    """Project and id of each run that has rows in a file."""
    try:
        found = _scan(path).select("project_id", "run_id").unique().collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from error
    return list(found.iter_rows())


def _parts(path: Path) -> str:
    """What the paths of all parts begin with that a file is one of."""
    return str(path).rpartition("part_")[0]


def _fail(error: BadRequest) -> SourceRun:
    raise error


def _scan(path: Path) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(path, glob=False)
        names = set(frame.collect_schema().names())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(path, " ".join(str(error).split())[:200]) from error
    if lacking := _NEEDED - names:
        raise damaged(path, f"it has no column {min(lacking)}")
    return frame


def _frames(place: _Place, kinds: Iterable[str], *columns: str) -> Iterator[pl.DataFrame]:
    """The rows of a run of some types, many at a time; a file of this run alone is never read whole.

    Args:
        place: Where they are.
        kinds: The types.
        columns: What to read besides path, type, step and time.
    """
    wanted = pl.col("attribute_type").is_in(list(kinds))
    mine = (pl.col("project_id") == place.project) & (pl.col("run_id") == place.run)
    try:
        for path in place.own:
            rows = _scan(path)
            for start in range(0, rows.select(pl.len()).collect().item(), _ROWS):
                yield rows.slice(start, _ROWS).filter(wanted).select(*_COMMON, *columns).collect()
        for path in place.shared:
            yield from (
                _scan(path).filter(mine & wanted).select(*_COMMON, *columns).collect().iter_slices(_ROWS)
            )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(place.own[0] if place.own else place.shared[0], str(error)[:200]) from error


def _select(place: _Place, kinds: Iterable[str], *columns: str) -> Iterator[dict[str, Any]]:
    for frame in _frames(place, kinds, *columns):
        yield from frame.iter_rows(named=True)


def _paths(place: _Place, kind: str) -> list[str]:
    found: set[str] = set()
    for frame in _frames(place, [kind]):
        found.update(frame["attribute_path"].unique().to_list())
    return sorted(found)


def _factor(place: _Place) -> int:
    """What steps must be multiplied by to be whole: a power of ten."""
    decimals = 0
    for frame in _frames(place, ["float_series"]):
        parts = _fraction(frame)
        while decimals < _DECIMALS and (np.rint(parts * 10**decimals) / 10**decimals != parts).any():
            decimals += 1
    return int(10**decimals)


def _fraction(frame: pl.DataFrame) -> Any:
    step = frame["step"].fill_null(0)
    fraction = step.cast(pl.Float64) - step.cast(pl.Int64).cast(pl.Float64)
    return np.rint(fraction.to_numpy() * 10**_DECIMALS) / 10**_DECIMALS


def _points(place: _Place, factor: int, start: datetime) -> Iterator[Columns]:
    for frame in _frames(place, ["float_series"], "float_value"):
        rows = frame.filter(pl.col("float_value").is_not_null())
        if not len(rows):
            continue
        keys = rows["attribute_path"].unique(maintain_order=True).to_list()
        number = pl.DataFrame({"attribute_path": keys, "key": np.arange(len(keys), dtype=np.uint16)})
        whole = rows["step"].fill_null(0).cast(pl.Int64).to_numpy()
        at = rows["timestamp"].cast(pl.Datetime("ms", "UTC")).fill_null(start)
        yield Columns(
            keys,
            rows.join(number, on="attribute_path", how="left", maintain_order="left")["key"].to_numpy(),
            rows["float_value"].cast(pl.Float64).to_numpy(),
            at.to_physical().to_numpy(),
            whole * factor + np.rint(_fraction(rows) * factor).astype(np.int64),
        )


def _lines(place: _Place, kind: str, name: str) -> Iterator[bytes]:
    column = _SERIES[kind]
    for row in _select(place, [kind], column):
        if row["attribute_path"] == name and row.get(column) is not None:
            value = row[column] if isinstance(row[column], dict) else {"value": row[column]}
            step = None if row["step"] is None else float(row["step"])
            yield msgspec.json.encode({"step": step, "timestamp": row["timestamp"]} | value) + b"\n"


def _tags(system: dict[str, Any]) -> dict[str, str]:
    names = {"sys/description": "mlflow.note.content", "sys/owner": "mlflow.user", "sys/tags": "neptune.tags"}
    return {names.get(path, path): _text(value) for path, value in system.items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=EPOCH.tzinfo)
