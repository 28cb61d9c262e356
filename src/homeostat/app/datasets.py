"""Datasets as they grow: rows wait in batches, and become versions when sealed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.domain import records
from homeostat.domain.events import Edge, Event
from homeostat.domain.refs import Ref
from homeostat.engine.data.batches import content_digest, encode, rows_of

_REMEMBERED: Final = timedelta(days=1)


def batch_of(
    name: str, seq: int, rows: pl.DataFrame, token: str, container: Container, tags: dict[str, str]
) -> records.Batch:
    """Rows as they wait for the next version."""
    return records.Batch(
        dataset=name,
        seq=seq,
        rows=rows.height,
        payload=encode(rows),
        token=token,
        at=container.clock.now(),
        tags=tags,
    )


def append_log(container: Container, name: str, rows: pl.DataFrame, *, once: str = "") -> int:
    """Add rows that the platform itself made (the prediction log) as one batch; returns its seq.

    A column keeps the type it began with, since a table's columns do: see ``_as_kept``.

    Args:
        container: The ports.
        name: The dataset.
        rows: At least one.
        once: A column of ids, where rows that were stored within the last day, in real time, may be offered again:
            who did not hear that they were offers them again, in their order, others perhaps behind them.
    """
    with container.store.begin() as tx:
        record = tx.lock(records.Dataset, name)
        while once and (seen := tx.get(records.Token, name, rows[once][0])) is not None:
            rows = rows[seen.accepted :]
            if rows.is_empty():
                return seen.seq
        if record is None:
            record = records.Dataset(
                name=name, spec={"key": ["prediction_id"], "time": "at"}, created_at=container.clock.now()
            )
        token = rows[once][0] if once else ""
        types: dict[str, str] = record.spec.get("types", {})
        rows = _as_kept(rows, types)
        types = {column: str(dtype) for column, dtype in rows.schema.items()} | types
        seq = record.position + 1
        tx.insert(batch_of(name, seq, rows, token, container, {}))
        if token:
            at = container.clock.wall()
            tx.insert(
                records.Token(dataset=name, token=token, seq=seq, accepted=rows.height, quarantined=0, at=at)
            )
        tx.put(
            msgspec.structs.replace(
                record, spec=record.spec | {"types": types}, position=seq, rows=record.rows + rows.height
            )
        )
    return seq


def _as_kept(rows: pl.DataFrame, types: dict[str, str]) -> pl.DataFrame:
    """Columns whose type changed, as a feature's may with the model's version, in a form that the table takes.

    A number goes into a column of texts as its text; a text goes beside a column of numbers, into ``NAME__text``.
    """
    for column, dtype in rows.schema.items():
        if types.get(column, str(dtype)) == str(dtype):
            continue
        if types[column] == "String":
            rows = rows.with_columns(pl.col(column).cast(pl.String))
        else:
            rows = rows.rename({column: f"{column}__text"}).with_columns(
                pl.col(f"{column}__text").cast(pl.String)
            )
    return rows


def seal(container: Container, name: str) -> records.DatasetVersion | None:
    """Make the waiting batches the next version; returns the newest version, None while there is none.

    The table is written before the record: a process that dies in between leaves a table version that nobody
    refers to, and the next seal undoes it.
    """
    with container.store.begin() as tx:
        record = tx.lock(records.Dataset, name)
        if record is None:
            return None
        last = tx.get(records.DatasetVersion, name, record.version)
        batches = tx.find(records.Batch, ("dataset", "=", name), order=["seq"])
        if not batches:
            return last
        rows = rows_of(batches)
        now = container.clock.now()
        version = records.DatasetVersion(
            dataset=name,
            version=record.version + 1,
            table_version=container.tables.append(name, rows, base=last.table_version if last else None),
            rows=(last.rows if last else 0) + rows.height,
            added=rows.height,
            first_seq=batches[0].seq,
            last_seq=batches[-1].seq,
            digest=content_digest(last.digest if last else "", rows),
            created_at=now,
        )
        tx.insert(version)
        tx.put(msgspec.structs.replace(record, version=version.version))
        tx.delete(records.Batch, ("dataset", "=", name), ("seq", "<=", version.last_seq))
        if "types" in record.spec:  # a log, which gets a token every moment; those of senders are kept
            tx.delete(
                records.Token, ("dataset", "=", name), ("at", "<", container.clock.wall() - _REMEMBERED)
            )
        ref = Ref("dataset", name)
        edges = (Edge(str(ref.at(last.version)), str(ref.at(version.version)), "extended"),) if last else ()
        injected = {k: v for batch in batches for k, v in batch.tags.items()}
        tx.append(
            Event(
                kind="dataset.version-created",
                subject=str(ref.at(version.version)),
                at=now,
                body={
                    "rows": version.rows,
                    "added": version.added,
                    "digest": version.digest,
                    "tags": injected,
                },
                edges=edges,
            )
        )
    return version
