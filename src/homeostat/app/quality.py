"""Quality with late labels: the prediction log joined with the labels that have come, judged over a window."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from homeostat.app.answers import coded, dtype_of, predictions
from homeostat.app.container import Container
from homeostat.app.levels import judged
from homeostat.app.outcomes import given
from homeostat.app.reading import read
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Window
from homeostat.engine.monitoring.quality import quality
from homeostat.engine.registry.metrics import measures


def quality_windows(container: Container, model: Model, log: pl.DataFrame, now: datetime) -> list[Window]:
    """Quality on the requests of the window whose labels have come."""
    assert model.slo is not None
    span = parse_duration(model.slo.window)
    asked = log.filter(pl.col("at") > now - span, pl.col("score").is_not_null())
    task, known = model.task, measures(model.task)
    joined = join_labels(container, model, asked)
    found = quality(joined, task.label, known.evaluate, predicted=predictions(task, joined), task=task.type)
    out = []
    for monitor in dict.fromkeys((*task.names[:2], *model.slo.quality)):
        value, bound, worse = found.metrics.get(monitor), model.slo.bound(monitor), -known.sign(monitor)
        out.append(judged(model, monitor, (now - span, now), found.labelled, value, bound, worse, found))
    return out


def join_labels(container: Container, model: Model, log: pl.DataFrame) -> pl.DataFrame:
    """Rows of the prediction log with the label's column, null where no label has come.

    A label that came by prediction id counts, else the newest of the request's key.
    """
    task = model.task
    labels = read(container, task.source.name)
    if task.source.time and log.height:
        labels = labels.filter(pl.col(task.source.time) >= log["time"].min())
    key = pl.concat_str(pl.col(task.request.keys).cast(pl.String), separator="|").alias("key")
    answers = (
        labels.sort(SEQ, maintain_order=True)
        .select(key, coded(task).alias(task.label))
        .unique("key", keep="last", maintain_order=True)
        .collect()
    )
    sent = given(container, model.name)
    found = log.join(answers, on="key", how="left")
    if not sent.height:
        return found
    by_id = found.join(sent, on="prediction_id", how="left", suffix="_sent", maintain_order="left")
    name = "label_sent" if "label" in found.columns else "label"
    return by_id.with_columns(pl.coalesce(pl.col(name).cast(dtype_of(task)), task.label).alias(task.label))
