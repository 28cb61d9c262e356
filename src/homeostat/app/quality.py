"""Quality with late labels: the prediction log joined with the labels that have come, judged over a window.

Each evaluation keeps a window for each metric that is promised or shown. Where a promise is broken it also names the
slices that are worse than the rest. ``assess`` says all that there is to say about a time, for who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from homeostat.app.answers import (
    Array,
    coded,
    column_of,
    key_of,
    losses,
    predictions,
    sent_label,
    together,
    unit_of,
)
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.estimating import estimate_windows, estimates
from homeostat.app.inputs import inputs
from homeostat.app.levels import judged
from homeostat.app.outcomes import CAME_AT, given, labels_of, log_of, met
from homeostat.app.reading import read
from homeostat.app.registry.pointers import champion_version
from homeostat.app.traffic import Asked, Traffic
from homeostat.app.workers import sync_workers
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Forecast, Model, Ranking, Regression, WorstSlice
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import NotFound
from homeostat.domain.records import Dataset, ModelVersion, Window
from homeostat.engine.features.times import instant, micros
from homeostat.engine.monitoring.delays import delays
from homeostat.engine.monitoring.fairness import Disparities, disparities
from homeostat.engine.monitoring.intervals import Interval, analytical, bootstrapped, mean, rate
from homeostat.engine.monitoring.quality import Group, Quality, quality
from homeostat.engine.monitoring.slices import LEAST_ROWS, worst_slices
from homeostat.engine.registry import package
from homeostat.engine.registry.metrics import Measures, answers, measures, reliability

WINDOW: Final = "7d"
FAIRNESS: Final = "fairness"
_MOST: Final = 20_000  # rows that slices are looked for in: the newest
_MOST_VALUES: Final = 20


class Requests(NamedTuple):
    """Requests with the labels that have come (``join_labels``).

    Args:
        log: The requests as the log has them, or a sample.
        asked: The same, with labels.
        labelled: What is judged: of a sample another one, for labels may be few.
    """

    log: pl.DataFrame
    asked: Asked
    labelled: Asked


def with_labels(container: Container, model: Model, log: Traffic, *which: pl.Expr) -> Requests:
    """Requests that ``which`` hold for, with the labels that have come."""
    unit = unit_of(model.task, log.columns)
    rows, one_in = log.asked(*which, unit=unit)
    asked = Asked(join_labels(container, model, rows), one_in)
    if one_in == 1:
        return Requests(rows, asked, asked)
    known = read(container, model.task.source.name).filter(coded(model.task).is_not_null())
    labels = [("key", known.select(key_of(model.task.request.keys)))]
    if container.store.get(Dataset, labels_of(model.name)) is not None:
        labels.append(("prediction_id", read(container, labels_of(model.name))))
    found, one_in = log.asked(*which, unit=unit, meeting=labels)
    return Requests(rows, asked, Asked(join_labels(container, model, found), one_in))


def quality_windows(container: Container, model: Model, log: Traffic, now: datetime) -> list[Window]:
    """Quality on the requests of the window whose labels have come."""
    assert model.slo is not None
    span = parse_duration(model.slo.window)
    requests = with_labels(
        container, model, log, pl.col("at") > instant(now - span), pl.col("score").is_not_null()
    )
    task, version = model.task, champion_version(container.store, model.name)
    known = measures_of(model, version)
    found = _quality(model, requests, known, now)
    wanted = dict.fromkeys((*task.names[:2], *model.slo.quality))

    def window(monitor: str, found: Quality) -> Window:
        value, bound, worse = found.metrics.get(monitor), model.slo.bound(monitor), -known.sign(monitor)  # type: ignore[union-attr] # asserted
        return judged(model, monitor, (now - span, now), found.labelled, value, bound, worse, found)

    asked, labelled = requests.asked.rows, requests.labelled.rows
    expected = estimates(container, model, version, asked)
    found = msgspec.structs.replace(found, estimates=expected)
    out = [window(monitor, found) for monitor in wanted]
    if broken := [one.monitor for one in out if one.breached]:
        # Whether it may be chance, and where it comes from.
        intervals = _intervals(model, labelled, known, found, broken)
        worst = _worst(container, model, version, labelled)
        suspected = msgspec.structs.replace(found, intervals=intervals, worst=worst)
        out = [window(one.monitor, suspected) if one.breached else one for one in out]
    whole = estimate_windows(model, expected, now - span, now)
    if model.fairness is not None and asked.height:
        fair = _fairness(model, asked)
        bound = model.slo.fairness
        one = judged(model, FAIRNESS, (now - span, now), asked.height, fair.largest, bound, 1.0, fair)
        beyond_chance = bound is not None and fair.surely > bound
        whole.append(msgspec.structs.replace(one, breached=one.breached and beyond_chance))
    return out + requests.asked.told(whole)


def assess(container: Container, name: str, *, window: str = WINDOW) -> Quality:
    """All that is known of a model's quality over the newest ``window``, also without a service level.

    Raises:
        NotFound: no such model is declared, or nothing was asked of it.
    """
    sync_workers(container)
    if container.store.get(Dataset, log_of(name)) is None:
        raise NotFound(
            f"nothing was asked of deployment/{name} yet", remedy="homeostat status shows what serves"
        )
    model = find_model(container, name)
    now, span = container.clock.now(), parse_duration(window)
    log = Traffic(container, name, pl.col("at") > instant(now - 2 * span))
    requests = with_labels(container, model, log, pl.col("at") > instant(now - span))
    found = assess_rows(container, model, requests, now)
    return msgspec.structs.replace(found, inputs=inputs(container, model, log, now, span))


def assess_rows(container: Container, model: Model, requests: Requests, now: datetime) -> Quality:
    """All that is known of a model's quality on some rows of its log, but of the data that it was asked with.

    Args:
        container: The ports.
        model: The declaration.
        requests: The rows.
        now: Until when labels could come.
    """
    task, version = model.task, champion_version(container.store, model.name)
    known = measures_of(model, version)
    found = _quality(model, requests, known, now)
    asked, labelled = requests.asked.rows, requests.labelled.rows
    rows = _labelled(model, labelled)
    y, p = rows[task.label].cast(pl.Float64).to_numpy(), predictions(task, rows)
    classes = "calibration_error" in task.names
    return msgspec.structs.replace(
        found,
        intervals=_intervals(model, labelled, known, found, found.metrics),
        worst=_worst(container, model, version, labelled),
        reliability=_reliability(y, p) if classes else [],
        groups=found.groups | _groups(model, rows, known, _declared(model)),
        estimates=estimates(container, model, version, asked),
        fairness=_fairness(model, asked) if model.fairness is not None and asked.height else None,
    )


def join_labels(container: Container, model: Model, log: pl.DataFrame) -> pl.DataFrame:
    """Rows of the prediction log with the label's column as a number, null where no label has come.

    A label that came by prediction id counts, else the newest of the request's key. When it came stands in ``CAME_AT``
    where that is known: the time of its row, or when it was sent.
    """
    task = model.task
    labels = read(container, task.source.name)
    if task.source.time and log.height:
        oldest = pl.lit(log["time"].to_physical().min(), log.schema["time"])
        labels = labels.filter(pl.col(task.source.time) >= oldest)
    came = pl.col(task.source.time) if task.source.time else pl.lit(None)
    told = labels.select(
        key_of(model.task.request.keys),
        coded(task).alias(task.label),
        came.cast(pl.Datetime("us", "UTC")).alias(CAME_AT),
        SEQ,
    )
    found = log.with_columns(met(container, task.source.name, told, log, on="key", keep="last").get_columns())
    sent = given(container, model.name, log)
    if not sent.height:
        return found
    own, at = sent.select(own=sent_label(task, "label"), at=CAME_AT)
    return found.with_columns(
        pl.coalesce(own, task.label).alias(task.label),
        pl.when(own.is_not_null()).then(at).otherwise(pl.col(CAME_AT)).alias(CAME_AT),
    )


def _quality(model: Model, requests: Requests, known: Measures, now: datetime) -> Quality:
    task, joined = model.task, requests.labelled.rows
    found = quality(
        joined,
        task.label,
        known.evaluate,
        predicted=predictions(task, joined),
        task=task.type,
        together=together(task, joined),
        quantile=_quantile(model),
    )
    unlabelled = found.unlabelled
    asked, one_in = requests.asked
    if one_in > 1:
        answered = asked.height - asked["score"].null_count()
        unlabelled = max(answered * one_in // requests.labelled.one_in - found.labelled, 0)
    found = msgspec.structs.replace(
        found,
        delays=_delays(model, asked, now),
        unlabelled=unlabelled,
        one_in=requests.labelled.one_in,
    )
    if not isinstance(task, Forecast | Ranking):
        return found
    rows = _labelled(model, joined)
    ahead = [task.horizon] if isinstance(task, Forecast) and task.horizon else []
    return msgspec.structs.replace(
        found,
        intervals=found.intervals | _by_query(model, rows, known),
        groups=_groups(model, rows, known, ahead),
    )


def measures_of(model: Model, version: ModelVersion | None) -> Measures:
    """The metrics of a task, as the training of a version, the champion, left their scale."""
    return measures(model.task, version.metrics if version else None)


def _quantile(model: Model) -> float | None:
    return model.task.quantile if isinstance(model.task, Regression) else None


def _by_query(model: Model, rows: pl.DataFrame, known: Measures) -> dict[str, Interval]:
    """The intervals of a ranking's metrics, which are means over queries; none of other tasks."""
    if not isinstance(model.task, Ranking):
        return {}
    y, p = rows[model.task.label].to_numpy(), predictions(model.task, rows)
    found = known.by_query(y, p, together(model.task, rows))
    return {name: mean(values) for name, values in found.items() if len(values) > 1}


def _intervals(
    model: Model, joined: pl.DataFrame, known: Measures, found: Quality, wanted: Iterable[str]
) -> dict[str, Interval]:
    """Those that were found by a formula, and of other metrics that are wanted by drawing labelled rows."""
    task = model.task
    others = {name: found.metrics[name] for name in wanted if name not in found.intervals}
    if not others:
        return found.intervals
    rows = _labelled(model, joined)
    y, p = rows[task.label].cast(pl.Float64).to_numpy(), predictions(task, rows)
    drawn = bootstrapped(y, p, others, partial(known.evaluate, only=others), together(task, rows))
    return found.intervals | drawn


def _delays(model: Model, joined: pl.DataFrame, now: datetime) -> Any:
    """Where nothing says when labels came, nothing is said of how long they take."""
    answered = joined["score"].is_not_null()
    at, until, label = (joined[name].filter(answered) for name in ("at", CAME_AT, model.task.label))
    came = label.is_not_null()
    if until.filter(came).null_count():
        return None
    known = came.to_numpy()
    waited = np.where(known, until.dt.epoch("us").to_numpy(), micros(now)) - at.dt.epoch("us").to_numpy()
    return delays(waited / 1e6, known)


def _labelled(model: Model, joined: pl.DataFrame) -> pl.DataFrame:
    return joined.filter(pl.col("score").is_not_null(), pl.col(model.task.label).is_not_null())


def _worst(container: Container, model: Model, version: ModelVersion | None, joined: pl.DataFrame) -> Any:
    """The slices of features, and of the columns of slice gates, where the loss is larger than elsewhere."""
    task, rows = model.task, _labelled(model, joined).tail(_MOST)
    if version is None or rows.height < 2 * LEAST_ROWS:
        return []
    groups = together(task, rows)
    loss = losses(task, version.metrics, rows[task.label].to_numpy(), predictions(task, rows), groups)
    features: Iterable[pl.Series] = _features(container, model, version, rows)
    # A query is judged once, and told apart by what all of its items share.
    if isinstance(task, Ranking) and groups is not None:
        first = np.unique(groups, return_index=True)[1]
        first = first[~np.isnan(loss[first])]
        told = pl.DataFrame(list(features))
        shared = told.select(pl.all().n_unique().over(pl.Series(groups)).max() == 1).row(0)
        features = told.select(n for n, one in zip(told.columns, shared, strict=True) if one)[first]
        loss = loss[first]
    return worst_slices(features, loss) if len(loss) >= 2 * LEAST_ROWS else []


def _features(
    container: Container, model: Model, version: ModelVersion, rows: pl.DataFrame
) -> Iterator[pl.Series]:
    """The columns that rows can be told apart by: features, and what the slice gates name of the request."""
    signature = package.signature(container.blobs.get(version.manifest["files"][package.SIGNATURE]))
    assert signature is not None  # of a version that the loop trained
    names = [column.name for column in signature.features if column.name in rows.columns]
    known = {name.rpartition("__")[2] for name in names}  # a column that is a feature is named once, as that
    extra = [column for column in _declared(model) if column not in known]
    yield from (rows[name] for name in names)
    for name in extra:
        yield rows.select(column_of(rows.columns, name).alias(name)).to_series()


def _declared(model: Model) -> list[str]:
    """The columns of the request that gates judge slices of."""
    return list(dict.fromkeys(gate.column for gate in model.gates if isinstance(gate, WorstSlice)))


def _fairness(model: Model, joined: pl.DataFrame) -> Disparities:
    """The rates of the declared groups, of all answered requests."""
    task, fairness = model.task, model.fairness
    assert fairness is not None
    rows = joined.filter(pl.col("score").is_not_null())
    p = predictions(task, rows)
    groups = {
        column: rows.select(column_of(rows.columns, column).cast(pl.String).fill_null("missing"))
        .to_series()
        .to_list()
        for column in fairness.of
    }
    return disparities(
        rows[task.label].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        p if task.type == "regression" else answers(p).astype(float),
        groups,
        fairness.rates(task.type),
        least_rows=fairness.min_rows,
    )


def _reliability(y: Array, p: Array) -> list[dict[str, float]]:
    out = []
    for one in reliability(y, p):
        interval = rate(round(one.observed * one.count), one.count)
        assert interval is not None  # a bin without rows is none
        bounds = {"low": interval.low, "high": interval.high}
        out.append({"predicted": one.predicted, "observed": one.observed, "count": one.count, **bounds})
    return out


def _groups(
    model: Model, rows: pl.DataFrame, known: Measures, columns: Iterable[str]
) -> dict[str, dict[str, Group]]:
    """Of each column, the most frequent values with enough rows, by column and value."""
    out: dict[str, dict[str, Group]] = {}
    p, y = predictions(model.task, rows), rows[model.task.label].cast(pl.Float64).to_numpy()
    groups = together(model.task, rows)
    for column in columns:
        told = rows.select(column_of(rows.columns, column)).to_series()
        if known.cuts(told, groups):
            continue
        if told.dtype.is_float() and (told.drop_nulls() % 1 == 0).all():  # features are wide numbers
            told = told.cast(pl.Int64)
        values = told.cast(pl.String).fill_null("missing").alias("value")  # the column may be called "rows"
        counts = values.value_counts(sort=True, name="rows").filter(pl.col("rows") >= LEAST_ROWS)
        shown = counts.head(_MOST_VALUES).sort(
            pl.col(values.name).cast(pl.Float64, strict=False), values.name, nulls_last=True
        )
        for value in shown[values.name]:
            mask = (values == value).to_numpy()
            of = y[mask], p[mask]
            mine = groups[mask] if groups is not None else None
            metrics = known.evaluate(*of, mine)
            intervals = analytical(*of, metrics, mine, _quantile(model))
            intervals |= _by_query(model, rows.filter(mask), known)
            out.setdefault(column, {})[value] = Group(int(mask.sum()), metrics, intervals)
    return out
