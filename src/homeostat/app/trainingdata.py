"""The rows of one training: pinned dataset versions, joined with their labels, features point in time.

The newest labelled rows are held out for the gates; the model never sees them. Where the world is known to have
changed, only rows since then are held out, so that a model is judged by the world as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from homeostat.app.answers import coded, key_of
from homeostat.app.asked import LABEL, LABEL_TIME, labelled_by_id
from homeostat.app.container import Container
from homeostat.app.reading import declared_columns, find_dataset, read
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import FeatureView, Model, Ranking, Task, Windows
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import Conflict
from homeostat.domain.records import Run
from homeostat.domain.refs import parse_ref
from homeostat.engine.features.featureset import FeatureSet
from homeostat.engine.features.times import available_at, micros
from homeostat.engine.tracking.training import TrainingSet

CHANGED_AT: Final = "changed_at"
"""The tag of a run that says since when the world is another, as far as was known when it began."""
SUSPECTED_AT: Final = "suspected_at"
"""The tag of a run that says since when the world may be another, where that is not known."""
DATA_SINCE: Final = "data_since"
"""The tag of a run and its version that says from which requests on the version has learned, where not from all."""
LEAST_SINCE: Final = 100
"""Fewer labelled rows since a change are not told apart from the others."""
_SINCE_HELD: Final = 0.2
_ROW: Final = "_row"


@dataclass(frozen=True)
class Rows:
    """Labelled requests, oldest first: the requests as they came, their features, their labels as numbers."""

    requests: pl.DataFrame
    X: pl.DataFrame
    y: npt.NDArray[Any]


@dataclass(frozen=True)
class Split:
    """What the model may learn from, and what the gates judge it on.

    Args:
        train: Rows to learn from.
        holdout: Rows to judge on.
        sources: The rows of every dataset.
        changed_at: Since when the world is another; None: it is not known to have changed.
        suspected_at: Since when it may be another, after that.
        since: The request time from which the rows to learn from begin; None: with the first.
    """

    train: Rows
    holdout: Rows
    sources: dict[str, pl.LazyFrame]
    changed_at: datetime | None = None
    suspected_at: datetime | None = None
    since: datetime | None = None

    @property
    def cuts(self) -> list[datetime]:
        """Where the rows to learn from may be cut."""
        return [at for at in (self.changed_at, self.suspected_at) if at is not None]

    def cut(self, at: datetime, time: str) -> Split:
        """Only requests since ``at`` to learn from, by the column ``time``."""
        mask = (self.train.requests[time] >= at).to_numpy()
        train = Rows(self.train.requests.filter(mask), self.train.X.filter(mask), self.train.y[mask])
        return replace(self, train=train, since=at)


def moment(tags: Mapping[str, str], name: str) -> datetime | None:
    """The time that a tag says; None where there is no such tag."""
    return datetime.fromisoformat(tags[name]) if name in tags else None


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
    changed_at = moment(run.tags, CHANGED_AT) if model.task.request.time else None
    labelled = _labelled(model, sources, until, sent, changed_at)
    requests, learnt = labelled.requests, labelled.learnt
    if learnt in (0, requests.height):
        raise Conflict(
            f"model/{model.name} has {requests.height} labelled rows, {requests.height - learnt} of them held out",
            remedy="Ingest more labelled rows, or declare another holdout=",
        )
    X, y = features.offline(requests, sources), labelled.y
    parts = Rows(requests[:learnt], X[:learnt], y[:learnt]), Rows(requests[learnt:], X[learnt:], y[learnt:])
    time = model.task.request.time
    if time is None:
        return Split(parts[0], parts[1], sources)
    changed, suspected = (
        at if at is not None and _known(requests[time] >= at) >= LEAST_SINCE else None
        for at in (changed_at, moment(run.tags, SUSPECTED_AT))
    )
    found = Split(parts[0], parts[1], sources, changed, suspected)
    since = moment(run.tags, DATA_SINCE)
    return found if since is None else found.cut(since, time)


def handed(task: Task, rows: Rows, params: Mapping[str, Any]) -> TrainingSet:
    """Rows as a training function is given them."""
    requests, time = rows.requests, task.request.time
    return TrainingSet(
        rows.X,
        rows.y,
        keys=requests.select(task.request.keys),
        times=requests[time] if time else None,
        params=params,
        classes=task.classes,
        queries=queries_of(task, rows),
    )


def queries_of(task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
    """Which query each row belongs to, counted from the oldest; None of what is no ranking."""
    if not isinstance(task, Ranking):
        return None
    return rows.requests[task.query].rle_id().cast(pl.Int64).to_numpy()


def _known(rows: pl.Series) -> int:
    return int(rows.sum())


def _completed(model: Model) -> bool:
    """Whether a request and its label are one row."""
    return model.task.request.name == model.task.source.name


class _Labelled(NamedTuple):
    """Requests, the label of each, and how many of them are to learn from: those are the first."""

    requests: pl.DataFrame
    y: npt.NDArray[Any]
    learnt: int


def _labelled(
    model: Model,
    sources: dict[str, pl.LazyFrame],
    until: datetime,
    sent: pl.DataFrame | None,
    changed_at: datetime | None,
) -> _Labelled:
    """Requests with their labels, those held out last, each part ordered by time, then by key.

    A label that came by prediction id (``sent``) counts before that of the request's key; a request that was only
    predicted is a row as it was logged.
    """
    task, request = model.task, model.task.request
    keys = list(request.keys)
    timed = [task.source.time] if task.source.time else []
    labels = _last_of_key(sources[task.source.name].select({*keys, task.label, *timed, SEQ}), keys)
    known = labels.filter(available_at(task.source) <= micros(until), pl.col(task.label).is_not_null())
    label_time = pl.col(*timed) if timed else pl.lit(None)
    answers = known.select(*keys, coded(task).alias(LABEL), label_time.alias(LABEL_TIME))
    asked = _last_of_key(sources[request.name], keys).drop(SEQ)
    if _completed(model):
        asked = asked.drop(task.label, strict=False)
    if sent is not None:
        mine = sent.select(*keys, LABEL, LABEL_TIME)
        answers = pl.concat([answers.join(mine, on=keys, how="anti"), mine], how="diagonal_relaxed")
        unknown = sent.drop(LABEL, LABEL_TIME).join(asked, on=keys, how="anti")
        asked = pl.concat([asked, unknown], how="diagonal_relaxed")
    if request.time and model.window is not None:
        asked = asked.filter(pl.col(request.time) > until - model.window)
    order = [*([request.time] if request.time else []), *keys]  # a total one: no two rows share a key
    # All columns are taken once, when it is known which rows and in which order: it is their memory that takes time.
    needed = [*order, *([task.query] if isinstance(task, Ranking) else [])]
    frame = asked.select({*needed}).with_row_index(_ROW).join(answers, on=keys).sort(order)
    if isinstance(task, Ranking):  # items of a query stand together, the queries in order of time
        first = [pl.col(request.time).min().over(task.query)] if request.time else []
        frame = frame.sort(*first, task.query, maintain_order=True)
    if wrong := frame[LABEL].null_count():
        raise Conflict(
            f"{wrong} labels of model/{model.name} are no answers to its task",
            remedy=f"Declare every class of {task.label!r}, or correct the rows of dataset/{task.source.name}",
        )
    held = _held(model, frame, until, changed_at)
    frame = pl.concat([frame.filter(~held), frame.filter(held)])
    return _Labelled(asked[frame[_ROW]], frame[LABEL].to_numpy(writable=True), frame.height - _known(held))


def _last_of_key(rows: pl.LazyFrame, keys: list[str]) -> pl.DataFrame:
    """One row a key: that of the newest batch. A correction replaces what it corrects."""
    found = rows.collect().rechunk()
    if not found[SEQ].is_sorted():
        found = found.sort(SEQ, maintain_order=True)
    if found.select(keys).hash_rows().n_unique() == found.height:  # then so many keys, in a fifth of the time
        return found
    return found.unique(keys, keep="last", maintain_order=True)


def _held(
    model: Model, frame: pl.DataFrame, until: datetime, changed_at: datetime | None = None
) -> pl.Series:
    """The newest rows by label time for a holdout of a duration; for a share, the newest, or without times any.

    Of rows since a change at most a fifth, the newest, and none before.
    """
    if isinstance(model.holdout, str) and model.task.source.time:
        mask = frame[LABEL_TIME] > until - parse_duration(model.holdout)
    elif model.task.request.time:
        first = frame.height - round(frame.height * _share(model.holdout))
        mask = pl.Series(np.arange(frame.height) >= first)
    else:
        # Without a time no row is newer: the rows whose keys hash lowest. But for a few at the edge, a row that is held
        # out stays so as others come, else the champion would be judged on rows that it was trained on.
        by = model.task.query if isinstance(model.task, Ranking) else model.task.request.keys
        keys = frame.select(key_of([by] if isinstance(by, str) else by).fill_null(""))
        hashes = np.array([blake2b(key.encode(), digest_size=8).digest() for key in keys.to_series()])
        order = hashes.argsort(kind="stable").argsort(kind="stable")
        mask = pl.Series(order < round(frame.height * _share(model.holdout)))
    held = mask.fill_null(False).alias("held")
    if isinstance(model.task, Ranking):  # no query is on both sides
        held = frame.with_columns(held).select(pl.col("held").any().over(model.task.query)).to_series()
    if changed_at is None or model.task.request.time is None:
        return held
    recent = frame[model.task.request.time] >= changed_at
    if _known(recent) < LEAST_SINCE:
        return held
    newest = (held & recent).reverse().cum_sum().reverse()
    return (held & recent & (newest <= round(_known(recent) * _SINCE_HELD))).alias("held")


def _share(holdout: str | float) -> float:
    return 0.2 if isinstance(holdout, str) else holdout


def datasets_of(model: Model) -> list[str]:
    """The datasets whose versions a training of ``model`` pins."""
    views: list[Any] = [view for view in model.features if isinstance(view, FeatureView | Windows)]
    return sorted({model.task.request.name, model.task.source.name, *(view.source.name for view in views)})
