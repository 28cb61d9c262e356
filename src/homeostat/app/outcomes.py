"""What became of answered requests: labels and outcomes joined with the prediction log, each prediction once.

A label comes as a row of a dataset, by the key of the request, or by the id of the prediction (``label``). Both join at
any delay. A prediction counts with the first label that comes for it; one that is sent again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.answers import code
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.reading import read, read_since
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Task
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.records import Dataset, Deployment

OUTCOME: Final = "outcome"
CAME_AT: Final = "came_at"
_CAME: Final = "_came"
_ID: Final = "prediction_id"


class Labelled(msgspec.Struct, frozen=True):
    """How many labels were taken for a deployment."""

    deployment: str
    accepted: int


def log_of(deployment: str) -> str:
    """The dataset of a deployment's predictions."""
    return f"{deployment}.predictions"


def labels_of(deployment: str) -> str:
    """The dataset of labels that came by prediction id."""
    return f"{deployment}.labels"


def label(container: Container, deployment: str, labels: Mapping[str, float | bool | str]) -> Labelled:
    """Take labels by prediction id, before or after the log has the predictions; the first of an id counts.

    They are kept as numbers, those of several classes as the places of these.

    Raises:
        NotFound: there is no such deployment.
        BadRequest: there is no label, or one is no answer to the model's task.
    """
    found = container.store.get(Deployment, deployment)
    if found is None:
        raise NotFound(f"there is no deployment/{deployment}", remedy="homeostat status lists them")
    if not labels:
        raise BadRequest("there are no labels", field="labels", remedy='Send {"labels": {"01J…": 1}}')
    task = _task(container, found.model)
    rows = pl.DataFrame(
        {
            _ID: [id.removeprefix("prediction/") for id in labels],
            "at": [container.clock.now()] * len(labels),
            "label": [code(task, value) for value in labels.values()],
        },
        schema={_ID: pl.String(), "at": pl.Datetime("us", "UTC"), "label": pl.Float64()},
    )
    append_log(container, labels_of(deployment), rows)
    return Labelled(deployment, rows.height)


def _task(container: Container, model: str) -> Task | None:
    try:
        return find_model(container, model).task
    except NotFound:  # served without a declaration: its labels are numbers
        return None


def given(container: Container, deployment: str) -> pl.DataFrame:
    """By prediction id, the first label that was sent: columns ``prediction_id``, ``label`` and ``CAME_AT``."""
    if container.store.get(Dataset, labels_of(deployment)) is None:
        return pl.DataFrame(
            schema={_ID: pl.String(), "label": pl.Float64(), CAME_AT: pl.Datetime("us", "UTC")}
        )
    rows = read(container, labels_of(deployment)).sort(SEQ, maintain_order=True)
    return (
        rows.unique(_ID, keep="first", maintain_order=True)
        .select(_ID, "label", pl.col("at").alias(CAME_AT))
        .collect()
    )


@dataclass(frozen=True)
class Source:
    """Where outcomes come from besides prediction ids: a column of a dataset as a number, by the key of the request."""

    dataset: str
    column: pl.Expr
    keys: Sequence[str]


@dataclass(frozen=True)
class Look:
    """What came since the last look.

    Args:
        fresh: New rows of the log.
        outcomes: Rows of the log that have an outcome and had none, with ``outcome``, in the order these came.
        seen: Where the next look goes on.
    """

    fresh: pl.DataFrame
    outcomes: pl.DataFrame
    seen: dict[str, int]


def start(container: Container, deployment: str, source: Source | None) -> dict[str, int]:
    """Where the first look goes on from: now."""
    out = {}
    for name, dataset in (
        ("log", log_of(deployment)),
        ("id", labels_of(deployment)),
        ("label", source.dataset if source else ""),
    ):
        record = container.store.get(Dataset, dataset) if dataset else None
        out[f"{name}_from"] = out[f"{name}_seq"] = record.position if record else 0
    return out


def look(
    container: Container,
    deployment: str,
    source: Source | None,
    seen: Mapping[str, Any],
    columns: Sequence[str],
    *,
    keep: pl.Expr,
    judged: pl.Expr,
) -> Look:
    """New rows of the log, and new outcomes of rows since ``start``.

    Args:
        container: The ports.
        deployment: Whose log.
        source: Where outcomes come from; None: by prediction id alone.
        seen: What ``start`` or the last look gave.
        columns: Of the log, that are wanted.
        keep: Which rows of the log matter at all.
        judged: Which of them may have an outcome.
    """
    found = {name: int(seen.get(name, 0)) for name in _POSITIONS}
    wanted = list(dict.fromkeys([_ID, "key", *columns]))
    log = read_since(container, log_of(deployment), found["log_from"], wanted)
    if not log.height:
        return Look(log, log, found)
    log = log.filter(keep)
    fresh = log.filter(pl.col(SEQ) > found["log_seq"])
    asked = log.filter(judged)
    known: list[pl.DataFrame] = []
    after = dict(found) | {"log_seq": _last(fresh, found["log_seq"])}
    if source is not None:
        names = list(dict.fromkeys([*source.keys, *source.column.meta.root_names()]))
        rows = read_since(container, source.dataset, found["label_from"], names)
        if rows.height:
            key = pl.concat_str(pl.col(list(source.keys)).cast(pl.String), separator="|").alias("key")
            answers = rows.select(key, source.column.cast(pl.Float64).alias(OUTCOME), _came())
            known.append(_joined(asked, answers, "key", found["log_seq"], found["label_seq"]))
            after["label_seq"] = _last(rows, found["label_seq"])
    rows = read_since(container, labels_of(deployment), found["id_from"], (_ID, "label"))
    if rows.height:
        answers = rows.select(_ID, pl.col("label").alias(OUTCOME), _came())
        known.append(_joined(asked, answers, _ID, found["log_seq"], found["id_seq"]))
        after["id_seq"] = _last(rows, found["id_seq"])
    return Look(fresh, _new(known, asked), after)


_POSITIONS: Final = ("log_from", "log_seq", "label_from", "label_seq", "id_from", "id_seq")


def _came() -> pl.Expr:
    return pl.col(SEQ).alias(_CAME)


def _last(rows: pl.DataFrame, before: int) -> int:
    return int(rows[SEQ].max() or before) if rows.height else before  # type: ignore[arg-type] # an int64 column


def _joined(
    asked: pl.DataFrame, answers: pl.DataFrame, on: str, log_seq: int, answer_seq: int
) -> pl.DataFrame:
    """Each request with its first answer, and whether both were there at the last look."""
    first = answers.drop_nulls(OUTCOME).unique(on, keep="first", maintain_order=True)
    both = asked.join(first, on=on, how="inner", maintain_order="left")
    return both.with_columns(_old=(pl.col(SEQ) <= log_seq) & (pl.col(_CAME) <= answer_seq))


def _new(known: list[pl.DataFrame], asked: pl.DataFrame) -> pl.DataFrame:
    if not known:
        return asked.head(0).with_columns(pl.lit(None, pl.Float64).alias(OUTCOME))
    pairs = pl.concat(known, how="diagonal")
    counted = pairs.filter("_old")[_ID].unique()
    new = pairs.filter(~pl.col("_old"), ~pl.col(_ID).is_in(counted.implode()))
    once = new.unique(_ID, keep="first", maintain_order=True)
    return once.sort(_CAME, SEQ, maintain_order=True).drop("_old")
