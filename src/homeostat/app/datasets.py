"""Datasets as they grow: rows wait in batches, and become versions when sealed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.domain import records
from homeostat.domain.errors import Busy
from homeostat.domain.events import Edge, Event
from homeostat.domain.refs import Ref
from homeostat.engine.data.batches import content_digest, encode, joined
from homeostat.ports.meta import Where

_REMEMBERED: Final = timedelta(days=1)
_ROUNDS: Final = 10


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

    The table is written between two looks at the store, so that nobody waits for it. Who finds at the second that
    another has sealed meanwhile, as another process may, leaves a table version that nobody refers to, as a process
    does that dies in between: the next seal undoes it.

    Raises:
        Busy: others sealed the dataset all the time.
    """
    with container.turn(f"seal {name}"):
        for _ in range(_ROUNDS):
            # Before the version: what is sealed in between waits no more, and is in the version that is read next.
            waiting = sorted(
                container.store.pick(records.Batch, ["seq", "payload", "tags"], ("dataset", "=", name)),
                key=lambda batch: int(batch[0]),
            )
            record = container.store.get(records.Dataset, name)
            if record is None:
                return None
            last = container.store.get(records.DatasetVersion, name, record.version)
            if not waiting:
                return last
            count, tags = len(waiting), {k: v for _, _, tags in waiting for k, v in tags.items()}
            version = _written(container, name, last, waiting)
            if version is not None and _recorded(container, version, last, count, tags):
                return version
    raise Busy(f"dataset/{name} is sealed by others all the time", remedy="Try again")


def _written(
    container: Container, name: str, last: records.DatasetVersion | None, waiting: list[Sequence[Any]]
) -> records.DatasetVersion | None:
    """The version that batches make on top of ``last``, with its table; None where another writes to that.

    ``waiting`` is empty afterwards: the rows are not held in two forms.
    """
    first_seq, last_seq = waiting[0][0], waiting[-1][0]
    waiting.reverse()
    rows = joined(_taken(waiting)).rechunk()  # once for the digest and for all who read the table
    digest = content_digest(last.digest if last else "", rows)
    try:
        at = container.tables.append(name, rows, base=last.table_version if last else None)
    except Busy:
        return None
    return records.DatasetVersion(
        dataset=name,
        version=last.version + 1 if last else 1,
        table_version=at,
        rows=(last.rows if last else 0) + rows.height,
        added=rows.height,
        first_seq=first_seq,
        last_seq=last_seq,
        digest=digest,
        created_at=container.clock.now(),
    )


def _taken(waiting: list[Sequence[Any]]) -> Iterator[tuple[int, bytes]]:
    while waiting:
        seq, payload, _ = waiting.pop()
        yield seq, payload


def _recorded(
    container: Container,
    version: records.DatasetVersion,
    last: records.DatasetVersion | None,
    count: int,
    tags: dict[str, str],
) -> bool:
    """Record a version whose table is written, unless its batches are no longer those that wait for it."""
    name = version.dataset
    sealed: list[Where] = [("dataset", "=", name), ("seq", "<=", version.last_seq)]
    with container.store.begin() as tx:
        record = tx.lock(records.Dataset, name)
        if (
            record is None
            or record.version != version.version - 1
            or tx.count(records.Batch, *sealed) != count
        ):
            return False
        tx.insert(version)
        tx.put(msgspec.structs.replace(record, version=version.version))
        tx.delete(records.Batch, *sealed)
        if "types" in record.spec:  # a log, which gets a token every moment; those of senders are kept
            tx.delete(
                records.Token, ("dataset", "=", name), ("at", "<", container.clock.wall() - _REMEMBERED)
            )
        ref = Ref("dataset", name)
        edges = (Edge(str(ref.at(last.version)), str(ref.at(version.version)), "extended"),) if last else ()
        tx.append(
            Event(
                kind="dataset.version-created",
                subject=str(ref.at(version.version)),
                at=version.created_at,
                body={
                    "rows": version.rows,
                    "added": version.added,
                    "digest": version.digest,
                    "tags": tags,
                },
                edges=edges,
            )
        )
    return True
