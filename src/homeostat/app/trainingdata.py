"""The rows of one training: pinned dataset versions, joined with their labels, features point in time.

The newest labelled rows are held out for the gates; the model never sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.app.answers import coded
from homeostat.app.asked import LABEL, LABEL_TIME, labelled_by_id
from homeostat.app.container import Container
from homeostat.app.reading import declared_columns, find_dataset, read
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Dataset, FeatureView, Model, Windows
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import Conflict
from homeostat.domain.records import Run
from homeostat.domain.refs import parse_ref
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.features.times import available_at, micros


@dataclass(frozen=True)
class Rows:
    """Labelled requests, oldest first: the requests as they came, their features, their labels as numbers."""

    requests: pl.DataFrame
    X: pl.DataFrame
    y: npt.NDArray[Any]


@dataclass(frozen=True)
class Split:
    """What the model may learn from, and what the gates judge it on."""

    train: Rows
    holdout: Rows
    sources: dict[str, pl.LazyFrame]


def split(container: Container, run: Run, model: Model, features: FeatureSet) -> Split:
    """The rows of ``run``: labels known by ``run.data_until``, from the versions it pinned.

    Raises:
        Conflict: too few labelled rows to train on and to judge with; says how many there are. Or a label is none of
            the declared classes.
    """
    pinned = {parse_ref(text).name: int(parse_ref(text).version) for text in run.inputs}
    sources = {name: read(container, name, version=version) for name, version in pinned.items()}
    until = run.data_until or run.created_at
    columns = declared_columns(find_dataset(container, model.task.request.name)) or ()
    asked = [column for column in columns if column.name != model.task.label or not _completed(model)]
    sent = labelled_by_id(model, sources, features.own, asked, until)
    labelled = _labelled(model, sources, until, sent)
    held = labelled["held"].to_numpy()
    if held.all() or not held.any():
        raise Conflict(
            f"model/{model.name} has {labelled.height} labelled rows, {int(held.sum())} of them held out",
            remedy="Ingest more labelled rows, or declare another holdout=",
        )
    requests = labelled.select(pl.exclude("held", "label"))
    X = features.offline(requests, sources)
    y = labelled["label"].to_numpy()
    parts = [Rows(requests.filter(mask), X.filter(mask), y[mask]) for mask in (~held, held)]
    return Split(parts[0], parts[1], sources)


def _completed(model: Model) -> bool:
    """Whether a request and its label are one row."""
    return model.task.request.name == model.task.source.name


def _labelled(
    model: Model, sources: dict[str, pl.LazyFrame], until: datetime, sent: pl.DataFrame | None
) -> pl.DataFrame:
    """Requests with ``label`` and ``held``, ordered by time (else by key).

    A label that came by prediction id (``sent``) counts before that of the request's key; a request that was only
    predicted is a row as it was logged.
    """
    task, request = model.task, model.task.request
    labels = _last_of_key(task.source, sources[task.source.name], request.keys)
    known = labels.filter(available_at(task.source) <= micros(until), pl.col(task.label).is_not_null())
    label_time = (
        pl.col(task.source.time).alias("label_time") if task.source.time else pl.lit(None).alias("label_time")
    )
    answers = known.select(*request.keys, coded(task).alias("label"), label_time)
    asked = _last_of_key(request, sources[request.name], request.keys)
    if _completed(model):
        asked = asked.drop(task.label, strict=False)
    if sent is not None:
        keys = list(request.keys)
        mine = sent.select(*keys, LABEL, LABEL_TIME).lazy()
        answers = pl.concat([answers.join(mine, on=keys, how="anti"), mine], how="diagonal_relaxed")
        unknown = sent.drop(LABEL, LABEL_TIME).lazy().join(asked, on=keys, how="anti")
        asked = pl.concat([asked, unknown], how="diagonal_relaxed")
    rows = asked.drop(SEQ, strict=False).join(answers, on=list(request.keys), how="inner")
    if request.time and model.window is not None:
        rows = rows.filter(pl.col(request.time) > until - model.window)
    frame = rows.sort([request.time] if request.time else list(request.keys), maintain_order=True).collect()
    if wrong := frame["label"].null_count():
        raise Conflict(
            f"{wrong} labels of model/{model.name} are no answers to its task",
            remedy=f"Declare every class of {task.label!r}, or correct the rows of dataset/{task.source.name}",
        )
    return frame.with_columns(_held(model, frame, until)).drop("label_time")


def _last_of_key(dataset: Dataset, rows: pl.LazyFrame, keys: tuple[str, ...]) -> pl.LazyFrame:
    """One row a key: that of the newest batch. A correction replaces what it corrects."""
    return rows.sort(SEQ, maintain_order=True).unique(list(keys), keep="last", maintain_order=True)


def _held(model: Model, frame: pl.DataFrame, until: datetime) -> pl.Series:
    """The newest rows by label time for a holdout of a duration; for a share, the newest, or without times any."""
    if isinstance(model.holdout, str) and model.task.source.time:
        mask = frame["label_time"] > until - parse_duration(model.holdout)
    elif model.task.request.time:
        first = frame.height - round(frame.height * _share(model.holdout))
        mask = pl.Series(np.arange(frame.height) >= first)
    else:
        # Without a time no row is newer: the rows whose keys hash lowest. But for a few at the edge, a row that is held
        # out stays so as others come, else the champion would be judged on rows that it was trained on.
        keys = frame.select(pl.concat_str(pl.col(model.task.request.keys).cast(pl.String), separator="|"))
        hashes = np.array([blake2b(key.encode(), digest_size=8).digest() for key in keys.to_series()])
        order = hashes.argsort(kind="stable").argsort(kind="stable")
        mask = pl.Series(order < round(frame.height * _share(model.holdout)))
    return mask.fill_null(False).alias("held")


def _share(holdout: str | float) -> float:
    return 0.2 if isinstance(holdout, str) else holdout


def datasets_of(model: Model) -> list[str]:
    """The datasets whose versions a training of ``model`` pins."""
    views: list[Any] = [view for view in model.features if isinstance(view, FeatureView | Windows)]
    return sorted({model.task.request.name, model.task.source.name, *(view.source.name for view in views)})
