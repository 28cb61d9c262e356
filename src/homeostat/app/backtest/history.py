"""What happened: the rows of every dataset that a model reads, by the time at which they could be seen.

Kept as one Arrow file a dataset, which every process that replays it maps. A row came when it was due: at its time,
moved up to the next delivery of its dataset (``every``). Rows without a time were there from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from homeostat.app.container import Container
from homeostat.app.reading import read
from homeostat.domain import records
from homeostat.domain.contracts import SEQ, Column
from homeostat.domain.declarations import Dataset, FeatureView, Model, Windows
from homeostat.domain.digests import digest_bytes, digest_of
from homeostat.domain.errors import ContractBroken, NotFound
from homeostat.engine.data.check import check, spread
from homeostat.engine.features.times import available_at, micros

_AT: Final = "_at"
_TYPES: Final = frozenset({".parquet", ".csv"})


class History:
    """The rows of a folder that ``keep`` wrote.

    Args:
        folder: Where they are.
        model: The model whose requests are asked again.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        self.model = model
        tables = {name: pl.read_ipc(folder / f"{name}.arrow") for name in sources_of(model)}
        self._tables = {name: rows.drop(_AT) for name, rows in tables.items()}
        self._times = {name: rows[_AT].to_numpy() for name, rows in tables.items()}
        request = model.task.request
        assert request.time is not None  # checked when the history was kept
        self._requests = self._tables[request.name].sort(request.time, maintain_order=True)
        self._asked = self._requests[request.time].dt.epoch("us").to_numpy()

    @property
    def datasets(self) -> list[str]:
        """The names of the datasets."""
        return sorted(self._tables)

    def came(self, name: str, since: datetime | None, until: datetime) -> pl.DataFrame:
        """The rows of a dataset that came in (since, until]; without ``since`` all until then."""
        low = int(np.searchsorted(self._times[name], micros(since), side="right")) if since else 0
        high = int(np.searchsorted(self._times[name], micros(until), side="right"))
        return self._tables[name].slice(low, high - low)

    def asked(self, since: datetime, until: datetime) -> pl.DataFrame:
        """The requests of [since, until), in the order of their times."""
        low, high = (int(np.searchsorted(self._asked, micros(at))) for at in (since, until))
        return self._requests.slice(low, high - low)

    def requests(self) -> pl.DataFrame:
        """Every request, in the order of their times."""
        return self._requests

    def sources(self) -> dict[str, pl.LazyFrame]:
        """The rows of every dataset that meet its contract, with a ``SEQ`` that grows with the time they came."""
        sound = {}
        for name, dataset in sources_of(self.model).items():
            seq = pl.Series(SEQ, self._times[name]).rank("dense").cast(pl.Int64)
            sound[name] = _sound(dataset, self._tables[name].with_columns(seq)).lazy()
        return sound


def sources_of(model: Model) -> dict[str, Dataset]:
    """The datasets that a model reads, by name."""
    views = [view.source for view in model.features if isinstance(view, FeatureView | Windows)]
    return {one.name: one for one in (model.task.request, model.task.source, *views)}


def fingerprint(model: Model, container: Container, given: Mapping[str, Path]) -> str:
    """What tells the history of a model from others, without reading the store's rows.

    Args:
        model: Whose datasets.
        container: The store that holds the rows of datasets that no file is given for.
        given: Files by dataset.
    """
    seen: dict[str, object] = {}
    for name in sources_of(model):
        record = container.store.get(records.Dataset, name)
        seen[name] = (
            digest_bytes(given[name].read_bytes())
            if name in given
            else [
                str(container.settings.store),
                record.position if record else 0,
                record.rows if record else 0,
            ]
        )
    return digest_of(seen)


def keep(folder: Path, model: Model, container: Container, given: Mapping[str, Path]) -> None:
    """Write the history of a model, without rows whose time is null: they came at none.

    Args:
        folder: Where to.
        model: Whose datasets.
        container: The store that holds the rows of datasets that no file is given for.
        given: Files by dataset, Parquet or CSV.

    Raises:
        NotFound: a dataset has no rows, neither in a file nor in the store.
        ContractBroken: requests or labels have no time, no row of a dataset has, or a file breaks its contract.
    """
    for what, dataset in (("requests", model.task.request), ("labels", model.task.source)):
        if dataset.time is None:
            raise ContractBroken(
                f"nothing says when the {what} of model/{model.name} came: dataset/{dataset.name} has no time",
                remedy="Name its time column, as in hs.Dataset(…, time=…)",
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, dataset in sources_of(model).items():
        rows = _file_rows(dataset, given[name]) if name in given else _stored_rows(container, dataset)
        timed = rows.with_columns(available_at(dataset).alias(_AT)).drop_nulls(_AT)
        if not timed.height:
            raise ContractBroken(
                f"no row of dataset/{name} says when it came: all {dataset.time!r} are null",
                remedy="Fill that column; rows without a time are left out",
            )
        timed.sort(_AT, maintain_order=True).rechunk().write_ipc(folder / f"{name}.arrow")


def files_in(folder: Path) -> dict[str, Path]:
    """The tables of a folder by the name of their dataset.

    Raises:
        NotFound: there is no such folder, or no table in it.
    """
    found = {file.stem: file for file in sorted(folder.glob("*")) if file.suffix in _TYPES}
    if not found:
        raise NotFound(
            f"{folder} holds no tables", remedy="Put DATASET.parquet or DATASET.csv there, one a dataset"
        )
    return found


def _file_rows(dataset: Dataset, file: Path) -> pl.DataFrame:
    try:
        rows = pl.read_csv(file, try_parse_dates=True) if file.suffix == ".csv" else pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ContractBroken(
            f"{file} cannot be read: {error}", remedy="Give a CSV or a .parquet file"
        ) from error
    if dataset.time is not None:
        time = rows.schema.get(dataset.time)
        if not isinstance(time, pl.Datetime):
            raise ContractBroken(
                f"{file} has no times in {dataset.time!r}, the time of dataset/{dataset.name}",
                remedy="Give it a column of that name, as 2026-01-31T12:00:00Z",
            )
        if time.time_zone is None:
            rows = rows.with_columns(pl.col(dataset.time).dt.replace_time_zone("UTC"))
    return rows if dataset.columns is None else spread(dataset.name, rows, dataset.columns)


def _stored_rows(container: Container, dataset: Dataset) -> pl.DataFrame:
    known = container.store.get(records.Dataset, dataset.name)
    rows = read(container, dataset.name).sort(SEQ, maintain_order=True).drop(SEQ).collect() if known else None
    if rows is None or not rows.height:
        raise NotFound(
            f"dataset/{dataset.name} has no rows to replay",
            remedy="Ingest them first, or give a folder of tables with --data",
        )
    return rows


def _sound(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that a delivery would not have set aside."""
    if dataset.columns is None:
        return rows
    return check(dataset.name, rows, (*dataset.columns, Column(name=SEQ, type="integer")), ()).good
