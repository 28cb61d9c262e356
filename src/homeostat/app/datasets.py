"""Datasets in use: rows come in as batches, are seen by features at once, and become versions when sealed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import msgspec
import polars as pl

from homeostat.app.alerts import open_alert
from homeostat.app.container import Container
from homeostat.app.online import refresh
from homeostat.app.reading import declared_columns, find_dataset
from homeostat.domain import records
from homeostat.domain.contracts import SEQ
from homeostat.domain.events import Edge, Event
from homeostat.domain.ids import new_id
from homeostat.domain.refs import Ref
from homeostat.engine.data.batches import content_digest, encode, rows_of
from homeostat.engine.data.check import Checked, check
from homeostat.engine.data.schema import infer
from homeostat.ports.meta import Transaction

_BATCH_ROWS = 250_000
_KEPT = 20
_BROKEN = 0.1  # from this share of a delivery on, the source is broken and not only a row

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ingested:
    """What became of a delivery. ``reasons`` counts set-aside rows by "column reason"."""

    dataset: str
    accepted: int
    quarantined: int
    position: int
    reasons: dict[str, int] = field(default_factory=dict)
    repeated: bool = False


def ingest(
    container: Container,
    name: str,
    rows: pl.DataFrame,
    *,
    token: str = "",
    tags: dict[str, str] | None = None,
) -> Ingested:
    """Take in rows: those that meet the contract are stored, the others set aside with their reason.

    Args:
        container: The ports.
        name: The dataset.
        rows: The rows, columns as in the contract; shape (n, columns).
        token: The sender's name for this delivery: one that was seen before adds nothing.
        tags: Marks that stay with the batch and with what is set aside.

    Raises:
        NotFound: there is no such dataset.
        ContractBroken: a column is missing or unknown; nothing is stored.
    """
    record = find_dataset(container, name)
    columns = declared_columns(record) or infer(rows, record.spec["key"])
    checked = check(name, rows, columns, record.spec["key"])
    now = container.clock.now()
    with container.store.begin() as tx:
        record = tx.lock(records.Dataset, name) or record
        seen = tx.get(records.Token, name, token) if token else None
        if seen is not None:
            return Ingested(name, seen.accepted, seen.quarantined, seen.seq, repeated=True)
        if not declared_columns(record):
            record = msgspec.structs.replace(
                record, spec=record.spec | {"columns": msgspec.to_builtins(columns)}
            )
        position = record.position
        for part in checked.good.iter_slices(_BATCH_ROWS) if checked.good.height else ():
            position += 1
            tx.insert(_batch(name, position, part, token, container, tags or {}))
        tx.put(msgspec.structs.replace(record, position=position, rows=record.rows + checked.good.height))
        if token:
            tx.insert(
                records.Token(
                    dataset=name,
                    token=token,
                    seq=position,
                    accepted=checked.good.height,
                    quarantined=checked.bad,
                    at=now,
                )
            )
        _quarantine(tx, name, checked, container, tags or {})
    if checked.good.height:
        one = checked.good.height <= _BATCH_ROWS
        fresh = (
            checked.good.hstack([pl.Series(SEQ, [position] * checked.good.height, pl.Int64)]) if one else None
        )
        try:
            refresh(container, name, fresh)
        except Exception:  # noqa: BLE001 - the rows are stored: who were told of an error would send them again
            _log.exception("features did not take in dataset/%s; the controller tries again", name)
    return Ingested(name, checked.good.height, checked.bad, position, _reasons(checked))


def _batch(
    name: str, seq: int, rows: pl.DataFrame, token: str, container: Container, tags: dict[str, str]
) -> records.Batch:
    return records.Batch(
        dataset=name,
        seq=seq,
        rows=rows.height,
        payload=encode(rows),
        token=token,
        at=container.clock.now(),
        tags=tags,
    )


def _reasons(checked: Checked) -> dict[str, int]:
    return {f"{problem.column} {problem.reason}": problem.rows.height for problem in checked.problems}


def _quarantine(
    tx: Transaction, name: str, checked: Checked, container: Container, tags: dict[str, str]
) -> None:
    now = container.clock.now()
    for problem in checked.problems:
        sample = msgspec.json.decode(problem.rows.head(_KEPT).write_json())
        tx.insert(
            records.Quarantined(
                id=new_id(now),
                dataset=name,
                column=problem.column,
                reason=problem.reason,
                count=problem.rows.height,
                rows=sample,
                at=now,
                tags=tags,
            )
        )
    if checked.bad:
        body = {"rows": checked.bad, "reasons": _reasons(checked), "tags": tags}
        tx.append(Event(kind="dataset.quarantined", subject=f"dataset/{name}", at=now, body=body))
        _alert(tx, name, checked, container, tags)


def contract_alert(name: str) -> str:
    """The key of the alert about a dataset whose deliveries break its contract."""
    return f"contract:{name}"


def _alert(tx: Transaction, name: str, checked: Checked, container: Container, tags: dict[str, str]) -> None:
    total = checked.good.height + checked.bad
    reasons = "; ".join(f"{column} in {count} rows" for column, count in _reasons(checked).items())
    open_alert(
        tx,
        container,
        key=contract_alert(name),
        subject=f"dataset/{name}",
        severity="page" if checked.bad >= _BROKEN * total else "ticket",
        summary=f"{checked.bad} of {total} delivered rows break the contract: {reasons}",
        action="the rows are set aside; nothing trains on them and no feature sees them",
        detail={"columns": sorted({problem.column for problem in checked.problems})},
        tags=tags,
    )


def append_log(container: Container, name: str, rows: pl.DataFrame) -> int:
    """Add rows that the platform itself made (the prediction log) as one batch; returns its seq."""
    with container.store.begin() as tx:
        record = tx.lock(records.Dataset, name)
        if record is None:
            record = records.Dataset(
                name=name, spec={"key": ["prediction_id"], "time": "at"}, created_at=container.clock.now()
            )
        seq = record.position + 1
        tx.insert(_batch(name, seq, rows, "", container, {}))
        tx.put(msgspec.structs.replace(record, position=seq, rows=record.rows + rows.height))
    return seq


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
