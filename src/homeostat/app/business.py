"""Business metrics wired: the prediction log joined with what came of its requests, by model version."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.app.reading import read
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.business import PREDICTION, BusinessMetric
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Project, Window
from homeostat.engine.monitoring.business import Worth, worth

PREFIX = "business "


def business_windows(container: Container, model: Model, log: pl.DataFrame, now: datetime) -> list[Window]:
    """A window for each metric that the model declares: the champion's mean, and each version's beside it.

    Args:
        container: The ports.
        model: The declaration.
        log: The prediction log, back to the longest window.
        now: The world's time.
    """
    out = []
    for one in model.business:
        since = now - parse_duration(one.window)
        asked = log.filter(pl.col("at") > since, pl.col("score").is_not_null(), pl.col("error").is_null())
        found = worth(_valued(container, model, one, asked), one.empty)
        first = next((each for each in found if each.arm == "champion"), None)
        out.append(
            Window(
                deployment=model.name,
                monitor=f"{PREFIX}{one.name}",
                start=since,
                end=now,
                rows=asked.height,
                value=first.mean if first else None,
                threshold=None,
                breached=False,
                detail={"versions": msgspec.to_builtins(found)},
            )
        )
    return out


def standing(container: Container) -> list[dict[str, Any]]:
    """What each declared metric was at the last look, by model and version."""
    out = []
    for project in container.store.find(Project):
        for ref, spec in project.declared.items():
            for one in spec.get("business", []) if ref.startswith("model/") else []:
                name = ref.removeprefix("model/")
                of: Any = (("deployment", "=", name), ("monitor", "=", f"{PREFIX}{one['name']}"))
                for window in container.store.find(Window, *of, order=["-end"], limit=1):
                    versions = msgspec.convert(window.detail["versions"], list[Worth])
                    told = {"model": name, "metric": one["name"], "window": one["window"], "at": window.end}
                    out.append(told | {"versions": msgspec.to_builtins(versions)})
    return out


def _valued(container: Container, model: Model, one: BusinessMetric, asked: pl.DataFrame) -> pl.DataFrame:
    """Requests with ``version``, ``arm`` and the sum of the values that came for each."""
    rows = read(container, one.source.name)
    names = rows.collect_schema().names()
    value = pl.col(one.column).cast(pl.Float64).alias("value")
    time = one.source.time
    came = (pl.col(time) if time else pl.lit(None)).cast(pl.Datetime("us", "UTC")).alias("came")
    if PREDICTION in names:
        on, meets = PREDICTION, pl.col(PREDICTION).cast(pl.String)
    else:
        on = "key"
        meets = pl.concat_str(pl.col(model.task.request.keys).cast(pl.String), separator="|").alias(on)
    wanted = rows.select(meets, value, came).filter(pl.col("value").is_finite())
    told = wanted.filter(pl.col(on).is_in(asked[on].implode())).collect() if asked.height else None
    kept = asked.select(PREDICTION, "key", "at", "version", "arm")
    if told is None or not told.height:
        return kept.with_columns(value=pl.lit(None, pl.Float64))
    met = told.with_row_index("row").join(kept, on=on, how="inner")
    # A row that says when it was is of the newest request before it.
    before = met.filter(pl.col("came").is_null() | (pl.col("came") >= pl.col("at"))).sort(
        "at", maintain_order=True
    )
    once = before.unique("row", keep="last", maintain_order=True)
    sums = once.group_by(PREDICTION).agg(pl.col("value").sum())
    return kept.join(sums, on=PREDICTION, how="left")
