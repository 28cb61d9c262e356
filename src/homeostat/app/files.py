"""The files that datasets name: their rows come in when a project is applied, the same contents once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from homeostat.app.container import Container
from homeostat.app.deliveries import ingest
from homeostat.domain import records
from homeostat.domain.contracts import Column
from homeostat.domain.declarations import Dataset
from homeostat.domain.digests import digest_file
from homeostat.domain.errors import Conflict, ContractBroken, NotFound
from homeostat.engine.data.schema import infer

_LOOK: Final = 100  # rows of a CSV that tell the types of its columns


def file_of(dataset: Dataset, root: Path) -> Path | None:
    """The file that a dataset names; None where it names none.

    Raises:
        NotFound: there is no such file.
    """
    if dataset.path is None:
        return None
    file = root / dataset.path
    if not file.is_file():
        raise NotFound(
            f"dataset/{dataset.name} names {file}, which is not there",
            remedy="Put the file there, or correct path=",
        )
    return file


def columns_in(dataset: Dataset, file: Path) -> tuple[Column, ...]:
    """The columns that a dataset without a contract has once the rows of a file came in; few of them are read.

    Raises:
        ContractBroken: it is neither CSV nor Parquet, or no contract can have its columns.
    """
    return infer(_rows(file, 0 if _parquet(file) else _LOOK), dataset.keys)


def ingest_file(container: Container, name: str, file: Path) -> None:
    """Take in the rows of a file. One whose contents are known is not parsed.

    Raises:
        ContractBroken: it is neither CSV nor Parquet, or its columns are not those of the contract.
        Conflict: somebody writes to it.
    """
    token = _digest(file)
    if container.store.get(records.Token, name, token) is not None:
        return
    rows = _rows(file)
    if _digest(file) != token:  # rows under the digest of others would keep those out for ever
        raise Conflict(
            f"{file} was written to while it was read",
            remedy="Apply again once it is whole; a file that is renamed into its place always is",
        )
    ingest(container, name, rows, token=token)


def _rows(file: Path, most: int | None = None) -> pl.DataFrame:
    try:
        if _parquet(file):
            return pl.read_parquet(file, n_rows=most)
        return pl.read_csv(file, try_parse_dates=True, infer_schema_length=_LOOK, n_rows=most)
    except pl.exceptions.PolarsError as error:
        raise ContractBroken(
            f"{file} cannot be read: {error}", remedy="Give a CSV or a .parquet file"
        ) from error


def _parquet(file: Path) -> bool:
    return file.suffix == ".parquet"


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return digest_file(opened)
