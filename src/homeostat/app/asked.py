"""Requests as the prediction log holds them, and those of them that were labelled by the id of their prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.answers import sent_label
from homeostat.app.container import Container
from homeostat.app.outcomes import labels_of, log_of
from homeostat.domain.contracts import SEQ, Column
from homeostat.domain.declarations import Model
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.records import Dataset
from homeostat.engine.data.schema import schema_of
from homeostat.engine.serving.frames import frame_of
from homeostat.engine.serving.requests import RequestReader

LABEL: Final = "label"
LABEL_TIME: Final = "label_time"
_ID: Final = "prediction_id"
_WHOLE: Final[dict[str, Callable[[Any], Any]]] = {"integer": int, "boolean": bool}


def request_of(row: Mapping[str, Any], own: Iterable[str], columns: Sequence[Column]) -> dict[str, Any]:
    """A request's columns: what the log holds of them as such, and those that are features by the same name.

    Args:
        row: A row of the log.
        own: The features that are columns of the request.
        columns: Those of a request.

    Raises:
        Conflict: it was logged without its request.
    """
    if row.get("request") is None:
        raise Conflict(f"prediction/{row[_ID]} was logged without its request", remedy="Replay a newer one")
    told: dict[str, Any] = msgspec.json.decode(row["request"])
    whole = {column.name: _WHOLE[column.type] for column in columns if column.type in _WHOLE}
    found = {name: row.get(name) for name in own}
    # Features are wide numbers: what the request gave as a whole one or a truth value is told as such.
    return told | {
        n: whole[n](value) if n in whole and value is not None else value for n, value in found.items()
    }


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.isoformat() if isinstance(value, datetime) else value


def sent_to(container: Container, model: str) -> list[str]:
    """The datasets that hold labels by prediction id and what was predicted; none where no label came so."""
    names = [labels_of(model), log_of(model)]
    found = [container.store.get(Dataset, name) for name in names]
    return names if all(one is not None and one.rows for one in found) else []


def labelled_by_id(
    model: Model,
    sources: Mapping[str, pl.LazyFrame],
    own: Iterable[str],
    columns: Sequence[Column],
    until: datetime,
) -> pl.DataFrame | None:
    """Requests whose labels came by prediction id, one a key: the newest that was labelled, with its first label.

    What does not meet the contract of a request, as it has become, is left out.

    Args:
        model: Whose requests.
        sources: Rows by dataset, of the versions that count.
        own: The features that are columns of a request.
        columns: Those of a request.
        until: Labels that came later are not known.

    Returns:
        The request's columns, ``label`` and ``label_time``; None where no label came so.
    """
    if labels_of(model.name) not in sources or log_of(model.name) not in sources:
        return None
    first = (
        sources[labels_of(model.name)]
        .filter(pl.col("at") <= until)
        .sort(SEQ, maintain_order=True)
        .unique(_ID, keep="first", maintain_order=True)
        .select(_ID, sent_label(model.task, "label").alias(LABEL), pl.col("at").alias(LABEL_TIME))
        .drop_nulls(LABEL)
    )
    asked = sources[log_of(model.name)].drop(LABEL, strict=False).join(first, on=_ID, how="inner")
    newest = asked.sort(SEQ, maintain_order=True).unique("key", keep="last", maintain_order=True).collect()
    reader, schema, own = RequestReader(tuple(columns)), schema_of(columns), list(own)
    requests, places = [], []
    for place, row in enumerate(newest.iter_rows(named=True)):
        try:
            told = {name: plain(value) for name, value in request_of(row, own, columns).items()}
            requests.append(reader.convert(told))
            places.append(place)
        except (BadRequest, Conflict):
            continue
    return frame_of(requests, schema).with_columns(newest[places].select(LABEL, LABEL_TIME))
