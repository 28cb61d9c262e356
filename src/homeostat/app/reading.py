"""Reading datasets: a version, everything up to now, or what came after a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.domain import records
from homeostat.domain.contracts import SEQ, Column
from homeostat.domain.declarations import Dataset
from homeostat.domain.errors import ContractBroken, NotFound
from homeostat.engine.data.batches import rows_of
from homeostat.engine.data.schema import schema_of
from homeostat.ports.meta import Where

LARGE: Final = 500_000
"""Rows that may be held at once: of a dataset of more only some are read, or parts after one another."""

Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)


def declared_columns(record: records.Dataset) -> tuple[Column, ...] | None:
    """The columns that the stored declaration names."""
    columns = record.spec.get("columns")
    return msgspec.convert(columns, tuple[Column, ...]) if columns else None


def find_dataset(container: Container, name: str) -> records.Dataset:
    """The dataset's record.

    Raises:
        NotFound: no applied project declares it.
    """
    record = container.store.get(records.Dataset, name)
    if record is None:
        known = ", ".join(d.name for d in container.store.find(records.Dataset)) or "none"
        raise NotFound(
            f"there is no dataset/{name}", remedy=f"Declare it and run homeostat apply; known: {known}"
        )
    return record


def schemas(
    container: Container,
    datasets: Mapping[str, Dataset],
    found: Mapping[str, tuple[Column, ...]] | None = None,
) -> dict[str, pl.Schema]:
    """The columns of datasets: as declared, else as inferred from their first rows, else as ``found``.

    Raises:
        ContractBroken: a dataset without a contract has no rows yet.
    """
    out = {}
    for name, dataset in datasets.items():
        columns = dataset.columns
        if columns is None:
            record = container.store.get(records.Dataset, name)
            columns = declared_columns(record) if record else None
        if columns is None:
            columns = (found or {}).get(name)
        if columns is None:
            raise ContractBroken(
                f"dataset/{name} has no contract and no rows yet",
                remedy="Ingest rows first, or declare a contract",
            )
        out[name] = schema_of(columns)
    return out


def read(container: Container, name: str, *, version: int | None = None) -> pl.LazyFrame:
    """The rows of a dataset with ``SEQ``: of one version, or without one everything up to now.

    Raises:
        NotFound: there is no such dataset or version.
    """
    # What waits is read first: batches that are sealed in between are in the version that is read next, and those
    # that were found waiting are left out of it.
    pending = (
        container.store.find(records.Batch, ("dataset", "=", name), order=["seq"]) if version is None else []
    )
    record = find_dataset(container, name)
    wanted = record.version if version is None else version
    parts: list[pl.LazyFrame] = []
    if wanted:
        found = container.store.get(records.DatasetVersion, name, wanted)
        if found is None:
            raise NotFound(f"there is no dataset/{name}@{wanted}", remedy=f"The newest is @{record.version}")
        table = container.tables.scan(name, found.table_version)
        if pending and pending[0].seq <= found.last_seq:
            table = table.filter(pl.col(SEQ) < pending[0].seq)
        parts.append(table)
    if pending:
        parts.append(rows_of(pending).lazy())
    schema = schema_of(declared_columns(record) or ())
    if not parts:
        return pl.LazyFrame(schema=dict(schema) | {SEQ: pl.Int64()})
    rows = pl.concat(parts, how="diagonal")
    # A table leaves out a column that has held nothing but nulls.
    there = rows.collect_schema()
    return rows.with_columns(pl.lit(None, schema[name]).alias(name) for name in schema if name not in there)


def read_since(
    container: Container, name: str, seq: int, columns: Sequence[str] = (), *, upto: int | None = None
) -> pl.DataFrame:
    """The rows of batches after ``seq``, with ``SEQ``; an empty frame without columns when there are none.

    Args:
        container: The ports.
        name: The dataset.
        seq: The last batch that is not wanted.
        columns: Those that are, where the rows have them; all when empty.
        upto: The last batch that is wanted; None: the newest.
    """
    wanted = [*columns, SEQ] if columns else []
    within: list[Where] = [("dataset", "=", name), ("seq", ">", seq)]
    if upto is not None:
        within.append(("seq", "<=", upto))
    waiting = container.store.find(records.Batch, *within, order=["seq"])
    parts = [_some(rows_of(waiting), wanted)] if waiting else []
    if waiting and waiting[0].seq == seq + 1:
        return parts[0]
    record = container.store.get(records.Dataset, name)
    last = container.store.get(records.DatasetVersion, name, record.version) if record else None
    if last is not None and last.last_seq > seq:
        ends = [last.last_seq, *([waiting[0].seq - 1] if waiting else []), *([] if upto is None else [upto])]
        table = container.tables.scan(name, last.table_version)
        rows = table.filter(pl.col(SEQ) > seq, pl.col(SEQ) <= min(ends))
        parts.insert(0, _some(rows, wanted).collect())
    return pl.concat(parts, how="diagonal").sort(SEQ, maintain_order=True) if parts else pl.DataFrame()


def stretches(container: Container, name: str, seq: int) -> list[int | None]:
    """Where ``read_since`` may stop, one after another, to hold about ``LARGE`` rows at once; None: it reads on.

    Args:
        container: The ports.
        name: The dataset.
        seq: The last batch that is not wanted.
    """
    ends: list[int | None] = []
    held = LARGE
    later: list[Where] = [("dataset", "=", name), ("last_seq", ">", seq)]
    for version in container.store.find(records.DatasetVersion, *later, order=["version"]):
        held += version.added
        if held > LARGE:
            held = version.added
            ends.append(version.last_seq)
        else:
            ends[-1] = version.last_seq
    return [*ends[:-1], None]


def _some(rows: Rows, wanted: Sequence[str]) -> Rows:
    known = rows.collect_schema()
    return rows.select(name for name in wanted if name in known) if wanted else rows


def version_of(container: Container, name: str, seq: int) -> records.DatasetVersion | None:
    """The version that a batch went into; None while it waits."""
    found = container.store.find(
        records.DatasetVersion, ("dataset", "=", name), ("last_seq", ">=", seq), order=["version"], limit=1
    )
    return found[0] if found else None
