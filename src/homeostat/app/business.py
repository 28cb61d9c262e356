"""Business metrics wired: the prediction log joined with what came of its requests, by model version."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.answers import key_of
from homeostat.app.container import Container
from homeostat.app.reading import read
from homeostat.app.traffic import Traffic
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.business import PREDICTION, BusinessMetric
from homeostat.domain.durations import parse_duration
from homeostat.domain.records import Project, Window
from homeostat.engine.monitoring.business import Worth, worth

PREFIX = "business "
_ASKED: Final = (PREDICTION, "key", "at", "version", "arm")


def business_windows(container: Container, model: Model, log: Traffic, now: datetime) -> list[Window]:
    """A window for each metric that the model declares: the champion's mean, and each version's beside it.

    Args:
        container: The ports.
        model: The declaration.
        log: What was asked, back to the longest window.
        now: The world's time.
    """
    out = []
    for one in model.business:
        since = now - parse_duration(one.window)
        rows = read(container, one.source.name)
        on = PREDICTION if PREDICTION in rows.collect_schema().names() else "key"
        own = pl.col("at") > since, pl.col("score").is_not_null(), pl.col("error").is_null()
        # All requests of a key together, for a row of a key belongs to one of them.
        parts = log.parts(*own, by=pl.col(on), columns=_ASKED)
        found = worth((_valued(model, one, rows, on, since, asked) for asked in parts), one.empty)
        first = next((each for each in found if each.arm == "champion"), None)
        out.append(
            Window(
                deployment=model.name,
                monitor=f"{PREFIX}{one.name}",
                start=since,
                end=now,
                rows=sum(each.requests for each in found),
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


def _valued(
    model: Model,
    one: BusinessMetric,
    rows: pl.LazyFrame,
    on: str,
    since: datetime,
    asked: pl.DataFrame,
) -> pl.DataFrame:
    """Requests with ``version``, ``arm`` and the sum of the values that came for each.

    Args:
        model: The declaration.
        one: The metric.
        rows: Of its source.
        on: The column of the log that those meet requests by.
        since: What came before it is of no request.
        asked: The requests.
    """
    if not asked.height:
        return asked.with_columns(value=pl.lit(None, pl.Float64))
    value = pl.col(one.column).cast(pl.Float64).alias("value")
    time = one.source.time
    came = (pl.col(time) if time else pl.lit(None)).cast(pl.Datetime("us", "UTC")).alias("came")
    keys = [PREDICTION] if on == PREDICTION else list(model.task.request.keys)
    meets = key_of(keys).alias(on)
    recent = pl.col("came").is_null() | (pl.col("came") > since)
    wanted = rows.select(meets, value, came).filter(pl.col("value").is_finite(), recent)
    asking = asked.lazy().select(on).unique()
    told = wanted.join(asking, on=on, how="semi", maintain_order="left").collect(engine="streaming")
    # A row that says when it was is of the newest request before it, one that does not of the newest.
    newest = asked.select(on, "at", of=PREDICTION).sort("at", maintain_order=True)
    met = (
        told.with_columns(pl.col("came").fill_null(asked["at"].max()))
        .sort("came", maintain_order=True)
        .join_asof(newest, left_on="came", right_on="at", by=on, strategy="backward", check_sortedness=False)
    )
    sums = met.drop_nulls("of").group_by(pl.col("of").alias(PREDICTION)).agg(pl.col("value").sum())
    return asked.join(sums, on=PREDICTION, how="left")
