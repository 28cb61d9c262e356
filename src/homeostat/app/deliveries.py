"""Deliveries: rows that come in. Those that meet the contract are stored and seen by features at once.

What a sender hands over in one delivery is stored together or not at all, whatever datasets it is for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from homeostat.app.alerts import open_alert
from homeostat.app.container import Container
from homeostat.app.datasets import batch_of
from homeostat.app.online import refresh
from homeostat.app.reading import declared_columns, find_dataset
from homeostat.domain import records
from homeostat.domain.contracts import SEQ, Column
from homeostat.domain.errors import BadRequest
from homeostat.domain.events import Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import Record
from homeostat.engine.data.check import Checked, check
from homeostat.engine.data.schema import infer
from homeostat.ports.meta import Transaction

_BATCH_ROWS = 250_000
_KEPT = 20
_BROKEN = 0.1  # from this share of a delivery on, the source is broken and not only a row

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parcel:
    """What a delivery holds for one dataset.

    Args:
        dataset: Its name.
        rows: The rows, columns as in the contract; shape (n, columns).
        token: The sender's name for it: one that was seen before adds nothing.
        tags: Marks that stay with the batch and with what is set aside.
    """

    dataset: str
    rows: pl.DataFrame
    token: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ingested:
    """What became of a parcel. ``reasons`` counts set-aside rows by "column reason"."""

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
    tags: Mapping[str, str] | None = None,
) -> Ingested:
    """Take in rows of one dataset; see ``deliver``."""
    return deliver(container, [Parcel(name, rows, token, tags or {})])[0]


def deliver(container: Container, parcels: Sequence[Parcel]) -> list[Ingested]:
    """Take in rows: those that meet their contract are stored, the others set aside with their reason.

    Args:
        container: The ports.
        parcels: At most one for each dataset.

    Returns:
        What became of each, in the order of ``parcels``.

    Raises:
        NotFound: there is no such dataset.
        ContractBroken: a column is missing or unknown; nothing of the delivery is stored.
        BadRequest: two parcels are for one dataset.
    """
    names = [parcel.dataset for parcel in parcels]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(
            f"the delivery has two parcels for dataset/{twice}",
            field="dataset",
            remedy="Put their rows into one",
        )
    sound = {}
    for parcel in parcels:
        record = find_dataset(container, parcel.dataset)
        columns = declared_columns(record) or infer(parcel.rows, record.spec["key"])
        sound[parcel.dataset] = columns, check(parcel.dataset, parcel.rows, columns, record.spec["key"])
    done: dict[str, Ingested] = {}
    good: dict[str, pl.DataFrame] = {}
    with container.store.begin() as tx:
        made: list[Record] = []
        for parcel in sorted(
            parcels, key=lambda one: one.dataset
        ):  # in one order, for two lock the same datasets
            done[parcel.dataset], good[parcel.dataset] = _store(
                tx, container, parcel, *sound[parcel.dataset], made
            )
        if made:
            tx.insert(*(one for one in made if not isinstance(one, records.Dataset)))
            tx.put(*(one for one in made if isinstance(one, records.Dataset)))
    fresh = {
        name: _numbered(good[name], one.position)
        for name, one in done.items()
        if one.accepted and not one.repeated
    }
    if fresh:
        try:
            refresh(container, fresh)
        except Exception:  # noqa: BLE001 - the rows are stored: who were told of an error would send them again
            _log.exception(
                "features did not take in dataset/%s; the controller tries again", ", ".join(fresh)
            )
    return [done[name] for name in names]


def _store(
    tx: Transaction,
    container: Container,
    parcel: Parcel,
    columns: tuple[Column, ...],
    checked: Checked,
    made: list[Record],
) -> tuple[Ingested, pl.DataFrame]:
    """What becomes of a parcel, and its rows that are stored; adds to ``made`` what is to be written."""
    name, token = parcel.dataset, parcel.token
    record = tx.lock(records.Dataset, name)
    assert record is not None  # datasets are never removed
    seen = tx.get(records.Token, name, token) if token else None
    if seen is not None:
        return Ingested(name, seen.accepted, seen.quarantined, seen.seq, repeated=True), checked.good
    declared = declared_columns(record)
    if declared is None:
        record = msgspec.structs.replace(record, spec=record.spec | {"columns": msgspec.to_builtins(columns)})
    elif declared != columns:  # another delivery or a new declaration came while these rows were checked
        checked = check(name, parcel.rows, declared, record.spec["key"])
    position, good, tags = record.position, checked.good, dict(parcel.tags)
    for part in good.iter_slices(_BATCH_ROWS) if good.height else ():
        position += 1
        made.append(batch_of(name, position, part, token, container, tags))
    arrived = container.clock.now() if good.height else record.arrived_at
    made.append(
        msgspec.structs.replace(record, position=position, rows=record.rows + good.height, arrived_at=arrived)
    )
    if token:
        made.append(
            records.Token(
                dataset=name,
                token=token,
                seq=position,
                accepted=good.height,
                quarantined=checked.bad,
                at=container.clock.now(),
            )
        )
    _quarantine(tx, name, checked, container, tags)
    return Ingested(name, good.height, checked.bad, position, _reasons(checked)), good


def _numbered(rows: pl.DataFrame, position: int) -> pl.DataFrame:
    """The rows of one batch with its seq; without it those of several, which are then read back."""
    if rows.height > _BATCH_ROWS:
        return rows
    return rows.hstack([pl.Series(SEQ, [position] * rows.height, pl.Int64)])


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
