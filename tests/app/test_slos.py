"""Error budgets of a deployment: what is counted, when it alerts, and what an alert says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from homeostat.adapters.clock import SimulatedClock
from homeostat.app.alerts import open_alert
from homeostat.app.apply import apply
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.datasets import append_log, seal
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.app.slos import LevelStanding, standing, tally
from homeostat.domain import records
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Alert, Arm, Tally

START = datetime(2026, 3, 2, tzinfo=UTC)
PROJECT = """
import homeostat as hs

class Order(hs.Contract):
    id: int
    size: float
    good: bool | None

orders = hs.Dataset("orders", key="id", contract=Order)

def train(data):
    raise RuntimeError("not in this test")

shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=orders),
    train=train,
    slo=hs.SLO(availability=0.999, p99="50ms", auc=0.7, fairness=0.1, data_age="1d", model_age="30d"),
)
"""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    (tmp_path / "project.py").write_text(PROJECT)
    (tmp_path / "home").mkdir()
    SimulatedClock(tmp_path / "home" / "clock", START).close()
    with Container(Settings(home=tmp_path / "home", clock="simulated")) as made:
        apply(made, load_project(tmp_path))
        with made.store.begin() as tx:
            arms = [Arm(1, 1.0, "champion")]
            tx.put(records.Deployment(name="shop", model="shop", generation=1, arms=arms, at=START))
        yield made


def advance(container: Container, by: timedelta) -> None:
    clock = container.clock
    assert isinstance(clock, SimulatedClock)
    clock.set(clock.now() + by)


def answered(container: Container, count: int, *, status: int = 200, latency_us: int = 900) -> None:
    """Rows of the prediction log."""
    at = container.clock.now()
    rows = pl.DataFrame({"at": [at] * count, "status": [status] * count, "latency_us": [latency_us] * count})
    append_log(container, "shop.predictions", rows.cast({"at": pl.Datetime("us", "UTC")}))


def look(container: Container) -> list[str]:
    return tally(container, declared(container).models["shop"])


def level(container: Container, name: str) -> LevelStanding:
    found = standing(container, declared(container).models["shop"])
    return next(one for one in found.levels if one.level == name)


def open_alerts(container: Container) -> dict[str, Alert]:
    return {one.key: one for one in container.store.find(Alert, ("state", "=", "open"))}


def test_requests_are_counted_once_wherever_they_wait(container: Container) -> None:
    answered(container, 90)
    answered(container, 10, latency_us=80_000)
    answered(container, 5, status=500)
    answered(container, 7, status=422)  # asked wrongly: nobody's budget
    look(container)
    look(container)
    seal(container, "shop.predictions")
    advance(container, timedelta(minutes=1))
    look(container)
    assert (level(container, "availability").total, level(container, "availability").bad) == (105, 5)
    assert (level(container, "latency").total, level(container, "latency").bad) == (100, 10)
    answered(container, 1)
    look(container)
    assert level(container, "availability").total == 106
    assert level(container, "availability").good == pytest.approx(1 - 5 / 106)
    assert level(container, "availability").budget_left == pytest.approx(1 - 5 / 0.106)


def test_an_outage_is_paged_once_and_resolved_when_it_is_over(container: Container) -> None:
    for _ in range(30):
        answered(container, 200)
        look(container)
        advance(container, timedelta(minutes=1))
    assert not open_alerts(container)
    began = container.clock.now()
    for _ in range(3):
        answered(container, 200, status=500)
        look(container)
        advance(container, timedelta(minutes=1))
    (alert,) = open_alerts(container).values()
    assert (alert.key, alert.severity) == ("burn:shop:availability:page", "page")
    assert alert.onset == began
    assert "0.001 of them may be" in alert.summary
    for _ in range(8):
        answered(container, 200)
        look(container)
        advance(container, timedelta(minutes=1))
    assert list(open_alerts(container)) == [
        "burn:shop:availability:page"
    ]  # the short window still holds some
    for minute in range(60):
        answered(container, 200)
        advance(container, timedelta(minutes=1))
        if minute % 20 == 19:
            look(container)
    # What is left is a budget that was spent too fast: the page gave way to a ticket.
    assert list(open_alerts(container)) == ["burn:shop:availability:ticket"]
    resolved = container.store.get(Alert, alert.id)
    assert resolved is not None
    assert resolved.state == "resolved"
    kinds = [event.kind for event in container.ledger.find(subject=f"alert/{alert.id}", newest=False)]
    assert kinds == ["alert.opened", "alert.resolved"]


def test_a_failure_among_few_requests_pages_nobody(container: Container) -> None:
    for minute in range(0, 300, 10):
        answered(container, 1, status=500 if minute == 150 else 200)
        look(container)
        advance(container, timedelta(minutes=10))
    assert level(container, "availability").bad == 1
    assert not open_alerts(container)


def test_what_nobody_looked_at_in_time_is_judged_all_the_same(container: Container) -> None:
    answered(container, 2000)
    look(container)
    advance(container, timedelta(hours=1))
    answered(container, 500, status=503)
    advance(container, timedelta(hours=4))
    answered(container, 10)
    assert look(container) == ["deployment/shop burns its budget of availability: page"]
    (alert,) = open_alerts(container).values()
    assert alert.onset == START + timedelta(hours=1)


def test_data_that_stay_away_burn_the_budget_of_freshness(container: Container) -> None:
    rows = pl.DataFrame({"id": [1, 2], "size": [0.1, 0.2], "good": [True, False]})
    ingest(container, "orders", rows)
    for _ in range(30):
        look(container)
        advance(container, timedelta(minutes=1))
    assert level(container, "data_age").value == pytest.approx(30 * 60)
    assert level(container, "data_age").good == 1
    advance(container, timedelta(days=1))
    look(container)
    assert list(open_alerts(container)) == ["burn:shop:data_age:page"]
    assert level(container, "data_age").bad == 1
    assert level(container, "data_age").budget_left is not None


def test_an_old_model_is_a_ticket(container: Container) -> None:
    version = records.ModelVersion(
        model="shop", version=1, run="r1", stage="champion", created_at=START, updated_at=START
    )
    with container.store.begin() as tx:
        tx.put(version, records.Alias(model="shop", alias="champion", version=1, at=START))
    look(container)
    assert level(container, "model_age").value == 0
    advance(container, timedelta(days=31))
    look(container)
    assert [alert.severity for alert in open_alerts(container).values()] == ["ticket"]


def test_fairness_and_quality_are_minutes_in_which_their_newest_window_held(container: Container) -> None:
    def window(monitor: str, value: float, threshold: float | None, breached: bool) -> None:
        with container.store.begin() as tx:
            tx.put(
                records.Window(
                    deployment="shop",
                    monitor=monitor,
                    start=START,
                    end=container.clock.now(),
                    rows=500,
                    value=value,
                    threshold=threshold,
                    breached=breached,
                    detail={"suspects": ["size"], "worst": [{"where": "size = large"}]},
                )
            )

    look(container)
    assert level(container, "auc").total == 0
    window("auc", 0.6, 0.7, True)
    window("fairness", 0.2, 0.1, True)
    advance(container, timedelta(minutes=1))
    look(container)
    assert (level(container, "auc").bad, level(container, "fairness").bad) == (1, 1)
    # The window of quality pages by itself when it is judged; the disparity has no other alert.
    assert list(open_alerts(container)) == ["burn:shop:fairness:page"]
    alert = open_alerts(container)["burn:shop:fairness:page"]
    assert alert.suspects.features == ["size"]
    assert alert.suspects.slices == ["size = large"]


def test_an_alert_names_what_changed_before_it(container: Container) -> None:
    rows = pl.DataFrame({"id": [1], "size": [0.1], "good": [True]})
    ingest(container, "orders", rows)
    seal(container, "orders")
    advance(container, timedelta(hours=1))
    answered(container, 100, status=500)
    look(container)
    (alert,) = open_alerts(container).values()
    told = [change.what for change in alert.suspects.changes]
    assert "dataset/orders@1 has a new version" in told
    assert any("was applied: create dataset/orders" in what for what in told)


def test_old_tallies_are_removed_and_a_tick_counts(container: Container) -> None:
    answered(container, 10)
    Controller(container).tick()
    assert container.store.count(Tally) > 0
    advance(container, timedelta(days=32))
    Controller(container).tick()
    assert not container.store.find(Tally, ("hour", "<", START + timedelta(days=1)))


@pytest.mark.parametrize("wrong", ["availability=1.5", "held=0", "data_age='soon'", "period='x'"])
def test_a_level_that_cannot_be_is_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "project.py").write_text(f"import homeostat as hs\nslo = hs.SLO({wrong})\n")
    with pytest.raises(DeclarationError):
        load_project(tmp_path)


def test_an_alert_says_what_was_done_since_it_began(container: Container) -> None:
    answered(container, 100, status=500)
    advance(container, timedelta(seconds=5))
    with container.store.begin() as tx:
        open_alert(
            tx,
            container,
            key="incident:shop:2",
            subject="deployment/shop",
            severity="page",
            summary="@2 broke its service level",
            action="rolled back to @1",
        )
    look(container)
    assert open_alerts(container)["burn:shop:availability:page"].action.startswith(
        "rolled back to @1 (alert/"
    )


def test_looks_at_the_same_time_count_each_request_once(tmp_path: Path, store_url: str) -> None:
    (tmp_path / "project.py").write_text(PROJECT)
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        apply(container, load_project(tmp_path))
        with container.store.begin() as tx:
            arms = [Arm(1, 1.0, "champion")]
            tx.put(records.Deployment(name="shop", model="shop", generation=1, arms=arms, at=START))
        model = declared(container).models["shop"]

        def work(number: int) -> None:
            for _ in range(5):
                answered(container, 2)
                answered(container, 1, status=500)
                tally(container, model)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        tally(container, model)
        assert (level(container, "availability").total, level(container, "availability").bad) == (60, 20)
        assert len(open_alerts(container)) == 1
        assert container.ledger.verify().ok
