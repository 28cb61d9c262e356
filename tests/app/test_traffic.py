"""Of a log that is larger than a look can hold a sample is judged, which says so, and is a fair one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from homeostat.app import traffic
from homeostat.app.answers import unit_of
from homeostat.app.apply import apply
from homeostat.app.business import business_windows
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.datasets import append_log, seal
from homeostat.app.deliveries import ingest
from homeostat.app.outcomes import log_of
from homeostat.app.outlying import to_review
from homeostat.app.projects import load_project
from homeostat.app.quality import assess
from homeostat.app.reading import read
from homeostat.app.reporting.report import report
from homeostat.app.settings import Settings
from homeostat.app.traffic import Traffic
from homeostat.app.watching import watch
from homeostat.domain.contracts import SEQ, Contract
from homeostat.domain.declarations import Dataset, Ranking
from homeostat.domain.records import Alert, Window
from tests.app.asking import ask
from tests.app.churning import PROJECT, declare, trained

MOST = 5_000
DAYS = {6: 30_000, 0: 8_000}  # ago, and how much was asked
HEAVY = 12_000  # times that one request was repeated six days ago
ORDERS = """class Order(hs.Contract):
    order: str
    at: datetime
    id: int
    spent: float

orders = hs.Dataset("orders", key="order", time="at", contract=Order)

churn = hs.Model("""
MORE = """business=[hs.BusinessMetric(orders, "spent", empty=0.0)],
    data_quality=hs.DataQuality(duplicates=0.5, volume=0.5),
    retrain=hs.when(hs.drift(of=["asked__usage"], threshold=0.2, window="7d")),"""


class Page(Contract):
    id: int
    key: str
    clicked: int


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A model that was asked much six days ago, less today, and each customer spends 1 with each request."""
    folder = tmp_path_factory.mktemp("busy")
    with Container(Settings.load(environ={"HOMEOSTAT_HOME": str(folder / "home")})) as container:
        declare(container, folder)
        with_orders = PROJECT.replace("churn = hs.Model(", ORDERS).replace("# more", MORE)
        (folder / "project.py").write_text("from datetime import datetime\n" + with_orders)
        apply(container, load_project(folder))
        trained(container)
        rng, now = np.random.default_rng(1), container.clock.now()
        few = pl.DataFrame(
            {"id": range(50), "plan": ["a", "b"] * 25, "usage": rng.normal(size=50).clip(-8, 8)}
        )
        ask(container, "churn", few)
        base = read(container, log_of("churn")).drop(SEQ).collect()
        for day, asked in DAYS.items():
            began = now - timedelta(days=day, hours=1)
            usage = rng.normal(size=asked)
            key = np.array([str(place % 600) for place in range(asked)])
            if day:
                usage[:HEAVY], key[:HEAVY] = 0.5, "bot"
            at = began + pl.Series(np.arange(asked)).cast(pl.Duration("us")) * 1000
            rows = base.sample(asked, with_replacement=True, seed=day).with_columns(
                prediction_id=pl.Series([f"{day}-{place:06d}" for place in range(asked)]),
                key=pl.Series(key),
                asked__usage=pl.Series(usage),
                asked__is_a=pl.lit(1.0),
                score=pl.Series(1 / (1 + np.exp(-usage))),
                at=at,
            )
            append_log(container, log_of("churn"), rows)
            seal(container, log_of("churn"))
            buyers = rows.filter(pl.col("key") != "bot")
            orders = {
                "order": buyers["prediction_id"],
                "at": buyers["at"].dt.replace_time_zone(None),
                "id": buyers["key"].cast(pl.Int64),
                "spent": pl.repeat(1.0, buyers.height, eager=True),
            }
            ingest(container, "orders", pl.DataFrame(orders))
        yield container


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "LARGE", MOST)


def within(container: Container, days: int) -> pl.Expr:
    return pl.col("at") > container.clock.now() - timedelta(days=days)


def test_a_sample_says_of_how_many_each_row_is(busy: Container) -> None:
    rows, one_in = Traffic(busy, "churn").asked()
    assert one_in == 8
    assert rows.height == pytest.approx((sum(DAYS.values()) + 50) / 8, rel=0.05)
    assert rows["prediction_id"].n_unique() == rows.height


def test_what_is_few_is_taken_whole(busy: Container) -> None:
    rows, one_in = Traffic(busy, "churn").asked(pl.col("prediction_id").str.contains("^[06]-.*7$"))
    assert (rows.height, one_in) == (sum(DAYS.values()) // 10, 1)


def test_a_smaller_sample_is_part_of_a_larger(busy: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = []
    for most in (20_000, 10_000, 5_000):
        monkeypatch.setattr(traffic, "LARGE", most)
        samples.append(set(Traffic(busy, "churn").asked().rows["prediction_id"]))
    assert samples[0] > samples[1] > samples[2]


def test_a_quiet_day_is_not_starved_by_a_busy_one(busy: Container) -> None:
    log = Traffic(busy, "churn")
    assert [log.asked(within(busy, days)).one_in for days in (1, 7)] == [2, 8]


def test_queries_are_in_a_sample_whole_and_what_has_none_by_itself(busy: Container) -> None:
    """By the column of a ranking's query, here the customer."""
    task = Ranking(label="clicked", source=Dataset("pages", key="id", contract=Page), query="key")
    log = Traffic(busy, "churn", pl.col("key") != "bot")
    rows = log.asked(unit=unit_of(task, log.columns)).rows
    sizes = rows.group_by("key").len()
    whole = read(busy, log_of("churn")).group_by("key").len().collect()
    assert 0 < sizes.height < whole.height / 2
    assert set(sizes.rows()) <= set(whole.rows())
    asked = Traffic(busy, "churn").asked(unit=pl.lit(None, pl.String))
    assert asked.rows.height == pytest.approx((sum(DAYS.values()) + 50) / asked.one_in, rel=0.05)


def test_requests_that_are_repeated_are_counted_however_many_they_are(busy: Container) -> None:
    found = assess(busy, "churn").inputs
    assert found is not None
    assert found.rows == sum(DAYS.values()) + 50, "counts are of all"
    assert found.repeated == pytest.approx((HEAVY - 1) / found.rows, abs=0.02)


def test_monitors_and_alerts_say_that_they_judge_a_sample(busy: Container) -> None:
    watch(busy, find_model(busy, "churn"))
    found = {one.monitor: one for one in busy.store.find(Window)}
    assert found["log_loss"].detail["one_in"] == 8
    assert found["availability"].detail["one_in"] == 2
    assert found["duplicates"].rows == DAYS[0] + 50
    assert "one_in" not in found["duplicates"].detail
    assert found["drift 7d"].detail["one_in"] == 8
    (alert,) = [one for one in busy.store.find(Alert) if one.key == "slo:churn:auc"]
    assert "one in 8 of those asked" in alert.summary


def test_what_answers_are_worth_counts_all_of_them(busy: Container) -> None:
    log = Traffic(busy, "churn")
    (found,) = business_windows(busy, find_model(busy, "churn"), log, busy.clock.now())
    (worth,) = found.detail["versions"]
    bought = sum(DAYS.values()) - HEAVY
    assert (worth["requests"], worth["valued"], worth["total"]) == (sum(DAYS.values()) + 50, bought, bought)
    share = bought / worth["requests"]
    assert worth["mean"] == pytest.approx(share)
    error = 1.959964 * (share * (1 - share) / worth["requests"]) ** 0.5
    assert (worth["low"], worth["high"]) == pytest.approx((share - error, share + error), abs=1e-5)


def test_few_labels_are_all_judged(busy: Container) -> None:
    """Of which too few would be in a sample of requests to judge by."""
    known = [f"6-{place:06d}" for place in range(0, 30_000, 300)]
    labels = pl.LazyFrame({"prediction_id": known})
    rows, one_in = Traffic(busy, "churn").asked(
        meeting=[("prediction_id", labels), ("key", pl.LazyFrame({"key": ["?"]}))]
    )
    assert (sorted(rows["prediction_id"]), one_in) == (known, 1)


def test_labels_are_counted_as_of_their_own_sample(busy: Container) -> None:
    """The bot has none, and is most of what was asked six days ago."""
    found = assess(busy, "churn")
    labelled = sum(DAYS.values()) + 50 - HEAVY
    assert found.one_in == 8
    assert found.labelled * found.one_in == pytest.approx(labelled, rel=0.05)
    assert (found.labelled + found.unlabelled) * found.one_in == pytest.approx(labelled + HEAVY, rel=0.05)


def test_the_strangest_of_all_requests_is_found(busy: Container) -> None:
    strange = read(busy, log_of("churn")).sort(pl.col("asked__usage").abs()).tail(1).collect()
    places = [one.prediction for one in to_review(busy, "churn", limit=2_000)]
    assert f"prediction/{strange['prediction_id'][0]}" in places
    assert len(places) == 2_000


def test_a_report_says_of_how_many_it_tells(busy: Container) -> None:
    now = busy.clock.now()
    found = report(busy, "churn", now - timedelta(days=7), now)
    assert (found.one_in, found.quality.labelled + found.quality.unlabelled) == (8, found.rows)
