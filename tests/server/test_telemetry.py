"""What the control process exposes to Prometheus, and the rules and the dashboard that are made for it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strictly
from prometheus_client.parser import text_string_to_metric_families as plainly
from starlette.testclient import TestClient

from homeostat.app.alerts import open_alert
from homeostat.app.apply import apply
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.deliveries import ingest
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.app.slos import tally
from homeostat.app.telemetry import grafana_dashboard, prometheus_rules
from homeostat.app.triggers import evaluate
from homeostat.domain.records import Arm, Deployment, Window
from homeostat.server.api import Api
from homeostat.server.protocols import measures
from homeostat.server.telemetry import Stored

PROJECT = """
import homeostat as hs

class Row(hs.Contract):
    id: str
    x: float
    late: bool | None

def train(data):
    raise RuntimeError("not in this test")

rows = hs.Dataset("rows", key="id", contract=Row)
delay = hs.Model("delay", task=hs.Binary(label="late", source=rows), train=train, slo=hs.SLO(availability=0.99),
    retrain=hs.when(hs.every("1d")))
"""


def scraped(container: Container, accept: str = "") -> tuple[str, str]:
    with ThreadPoolExecutor(1) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        answer = client.get("/metrics", headers={"accept": accept} if accept else {})
        assert answer.status_code == 200
        return answer.text, answer.headers["content-type"]


@pytest.fixture
def text(tmp_path: Path) -> tuple[str, str]:
    """The plain form and OpenMetrics, of a store in which there is something of everything."""
    (tmp_path / "project.py").write_text(PROJECT)
    url = "http://127.0.0.1:9"
    with Container(Settings(home=tmp_path / "home", channels=f"ops webhook {url}")) as container:
        assert "homeostat_build_info" in scraped(container)[0]  # before anything is applied
        apply(container, load_project(tmp_path))
        ingest(container, "rows", pl.DataFrame({"id": ["a"], "x": [0.5], "late": [True]}))
        now = container.clock.now()
        log = pl.DataFrame({"at": [now] * 100, "status": [200] * 60 + [500] * 40, "latency_us": [9] * 100})
        append_log(container, "delay.predictions", log.cast({"at": pl.Datetime("us", "UTC")}))
        window = Window(
            deployment="delay",
            monitor="auc",
            start=now,
            end=now,
            rows=9,
            value=0.7,
            threshold=0.6,
            breached=False,
        )
        with container.store.begin() as tx:
            tx.put(
                Deployment(name="delay", model="delay", generation=1, arms=[Arm(1, 1.0, "champion")], at=now)
            )
            tx.put(window)
            open_alert(
                tx, container, key='a"b\\', subject="dataset/rows", severity="page", summary="x", action="y"
            )
        tally(container, declared(container).models["delay"])
        assert evaluate(container, declared(container).models["delay"], []) is not None
        plain, media = scraped(container)
        assert media.startswith("text/plain; version=0.0.4")
        strict, media = scraped(container, "application/openmetrics-text; version=1.0.0")
        assert media.startswith("application/openmetrics-text")
        return plain, strict


def test_both_forms_are_what_their_parsers_take(text: tuple[str, str]) -> None:
    plain, strict = text
    for families in (list(plainly(plain)), list(strictly(strict))):
        samples = {
            (one.name, *sorted(one.labels.items())): one.value for found in families for one in found.samples
        }
        of = (("deployment", "delay"), ("level", "availability"))
        assert samples["homeostat_slo_burn_rate", *of, ("window", "1h")] == pytest.approx(40)
        assert samples["homeostat_slo_error_budget_remaining_ratio", *of] == pytest.approx(-39)
        assert samples["homeostat_alerts", ("acknowledged", "false"), ("severity", "page")] == 2
        assert samples["homeostat_monitor_value", ("deployment", "delay"), ("monitor", "auc")] == 0.7
        assert samples["homeostat_deliveries_waiting", ("channel", "ops")] == 0
        assert samples["homeostat_dataset_rows", ("dataset", "rows")] == 1
        assert samples["homeostat_ledger_events_total",] > 0
        assert samples["homeostat_rules_due",] == 0
        assert samples["homeostat_rule_fired", ("model", "delay"), ("rule", "every 1d")] == 1
        assert samples["homeostat_rules_looked_age_seconds", ("model", "delay")] >= 0
        assert samples["homeostat_trainings", ("state", "queued")] == 1
        assert samples["homeostat_trainings_limit",] == 2
        assert samples["homeostat_trainings_queue_age_seconds",] >= 0
        assert samples["homeostat_disk_free_bytes",] > 0
        for family in families:
            assert family.documentation, family.name


def test_rules_and_dashboard_ask_for_what_is_exposed(text: tuple[str, str]) -> None:
    exposed = set(re.findall(r"^# TYPE (homeostat_\w+)", text[0], re.MULTILINE))
    source = Path(measures.__file__).read_text("utf-8")
    exposed |= {f"homeostat_{name}" for name in re.findall(r'"([a-z_{}]+?)"', source)}
    exposed |= {f"homeostat_{name}_total" for name in measures._ROWS}
    exposed |= {f"homeostat_log_{name}_total" for name in measures._LOG}
    rules = prometheus_rules()["groups"][0]["rules"]
    panels = grafana_dashboard()["panels"]
    asked = [rule["expr"] for rule in rules] + [target["expr"] for one in panels for target in one["targets"]]
    for expression in asked:
        for name in re.findall(r"homeostat_\w+", expression):
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert {name, base} & exposed, name
    assert [rule["labels"]["severity"] for rule in rules][:3] == ["page", "page", "ticket"]
    # Quality alerts by its window, and nobody is woken for the age of a model.
    assert 'level=~"availability|data_age|fairness|latency"' in rules[0]["expr"]
    assert 'level=~"availability|data_age|fairness|latency|model_age"' in rules[2]["expr"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels]
    assert len(set(taken)) == len(taken)


def test_a_monitor_is_told_however_many_windows_others_have_since(tmp_path: Path) -> None:
    """And one that nobody looks at any more is not."""

    def window(monitor: str, end: datetime, length: timedelta) -> Window:
        return Window(
            deployment="delay",
            monitor=monitor,
            start=end - length,
            end=end,
            rows=1,
            value=1.0,
            threshold=None,
            breached=False,
        )

    with Container(Settings(home=tmp_path / "home")) as container:
        now, hour, month = container.clock.now(), timedelta(hours=1), timedelta(days=30)
        windows = [window("hourly", now - hour * step, hour) for step in range(300)]
        windows += [window("monthly", now - month, month), window("gone", now - timedelta(days=9), hour)]
        with container.store.begin() as tx:
            tx.put(Deployment(name="delay", model="delay", generation=1, arms=[], at=now))
            tx.insert(*windows)
        families = {family.name: family for family in Stored(container).collect()}
    told = {sample.labels["monitor"] for sample in families["homeostat_monitor_rows"].samples}
    assert told == {"hourly", "monthly"}
