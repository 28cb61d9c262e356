"""Point-in-time features for training, and the same features for one request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

import homeostat as hs
from benchmarks.measure import Line, Section, compare, cost
from homeostat.adapters.online import LmdbOnline
from homeostat.domain.contracts import SEQ, Contract
from homeostat.engine.features.delivery import Delivery
from homeostat.engine.features.featureset import FeatureSet, changes, online_key

_EVENTS, _REQUESTS, _ENTITIES = 300_000, 100_000, 500
_START = datetime(2026, 1, 1, tzinfo=UTC)
_SPAN = timedelta(days=60)


class Event(Contract):
    id: int
    shop: str
    at: datetime
    value: float


class Ask(Contract):
    id: int
    shop: str
    at: datetime


events = hs.Dataset("events", key="id", time="at", contract=Event)
asks = hs.Dataset("asks", key="id", time="at", contract=Ask)
shop = hs.Entity("shop")
recent = hs.windows("recent", entity=shop, source=events, mean="value", over=["1h", "1d", "7d"])


@hs.feature_view(entity=shop, source=events, ttl="1d")
def newest(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("value")


def run() -> Section:
    """Offline beside plain as-of joins on the same rows; online beside a dictionary."""
    rows, requests = _rows(_EVENTS, 0).with_columns(pl.lit(1, pl.Int64).alias(SEQ)), _rows(_REQUESTS, 1)
    requests = requests.drop("value")
    schemas = {"events": rows.drop(SEQ).schema, "asks": requests.schema}
    sources = {"events": rows.lazy()}
    one, both = FeatureSet([newest], asks, schemas), FeatureSet([newest, recent], asks, schemas)
    joined = cost(lambda: _join(requests, rows), repeat=3)
    lines = [
        compare(
            f"latest row, {_REQUESTS:,} requests; bare: `join_asof`",
            cost(lambda: one.offline(requests, sources), repeat=3),
            joined,
        ),
        compare(
            "latest row and three windows; bare: five `join_asof`",
            (all_of := cost(lambda: both.offline(requests, sources), repeat=3)),
            cost(lambda: [_join(requests, rows) for _ in range(5)], repeat=3),
        ),
        Line("the same, rows a second", f"{_REQUESTS / all_of.cpu:,.0f} a CPU second"),
    ]
    with TemporaryDirectory(prefix="homeostat-bench-") as folder:
        store = LmdbOnline(Path(folder))
        for view in (newest, recent):
            store.write(
                online_key(view), changes(view, Delivery(view.source, rows), store, _START + _SPAN), 1
            )
        lines += [_online(both, requests, store, size) for size in (1, 64)]
        store.close()
    return Section(
        "Features",
        f"{_EVENTS:,} rows of {_ENTITIES} entities over {_SPAN.days} days. Online: one multi-get and four features a "
        "request, from LMDB; bare: a dictionary of ready values, and the frame made of them.",
        lines,
    )


def _rows(count: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    micros = np.sort(rng.integers(0, int(_SPAN.total_seconds()) * 1_000_000, count))
    return pl.DataFrame(
        {
            "id": np.arange(count),
            "shop": [f"s{i}" for i in rng.integers(0, _ENTITIES, count)],
            "at": pl.Series(micros).cast(pl.Duration("us"))
            + pl.Series([_START], dtype=pl.Datetime("us", "UTC")),
            "value": rng.normal(size=count),
        }
    )


def _join(requests: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    left, right = requests.sort("at"), rows.select("shop", "at", "value").sort("at")
    return left.join_asof(right, on="at", by="shop", strategy="backward", check_sortedness=False).sort("id")


def _online(features: FeatureSet, requests: pl.DataFrame, store: LmdbOnline, size: int) -> Line:
    batch = requests.tail(size)
    times = batch["at"].to_list()
    ready = {f"s{i}": [float(i)] * 4 for i in range(_ENTITIES)}
    schema = dict(features.schema)

    def bare() -> pl.DataFrame:
        return pl.DataFrame([ready[key] for key in batch["shop"].to_list()], schema=schema, orient="row")

    turns = 200
    ours = cost(lambda: [features.online(batch, times, store) for _ in range(turns)], units=turns * size)
    plain = cost(lambda: [bare() for _ in range(turns)], units=turns * size)
    return compare(f"online, a request in a batch of {size}", ours, plain)
