"""``alerts`` and ``slo``: what they print, without a server."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from homeostat.app.alerts import open_alert
from homeostat.app.apply import apply
from homeostat.app.code import declared
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from homeostat.app.slos import tally
from homeostat.app.telemetry import grafana_dashboard, prometheus_rules
from homeostat.cli.output import print_table
from homeostat.domain.records import Arm, Deployment
from tests.cli.invoking import Shell

PROJECT = """
import homeostat as hs

class Row(hs.Contract):
    id: str
    x: float
    late: bool | None

def train(data):
    raise RuntimeError("not in this test")

rows = hs.Dataset("rows", key="id", contract=Row)
delay = hs.Model("delay", task=hs.Binary(label="late", source=rows), train=train, slo=hs.SLO(availability=0.99))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "project.py").write_text(PROJECT)
    with Container(Settings(home=tmp_path / "home")) as container:
        apply(container, load_project(tmp_path))
        now = container.clock.now()
        rows = pl.DataFrame({"at": [now] * 100, "status": [200] * 60 + [500] * 40, "latency_us": [9] * 100})
        append_log(container, "delay.predictions", rows.cast({"at": pl.Datetime("us", "UTC")}))
        with container.store.begin() as tx:
            tx.put(
                Deployment(name="delay", model="delay", generation=1, arms=[Arm(1, 1.0, "champion")], at=now)
            )
            open_alert(
                tx,
                container,
                key="contract:rows",
                subject="dataset/rows",
                severity="ticket",
                summary="rows break",
                action="none",
            )
        tally(container, declared(container).models["delay"])
    return tmp_path / "home"


def test_an_alert_is_listed_shown_acknowledged_and_silenced(homeostat: Shell, home: Path) -> None:
    here = ("--home", home)
    listed = homeostat("alerts", "ls", *here).out
    assert "rows break" in listed
    assert "the error budget of availability burns" in listed
    (alert,) = [one for one in homeostat("alerts", "ls", "--json", *here).json if one["severity"] == "page"]
    shown = homeostat("alerts", "show", alert["key"], *here).out
    assert "project/" in shown  # it was applied shortly before
    assert "homeostat slo" in shown
    (incident,) = homeostat("incidents", "delay", "--json", *here).json
    assert (incident["alert"], incident["severity"]) == (alert["id"], "page")
    assert "detected" in [step["what"] for step in incident["moments"]]
    assert alert["id"] in homeostat("incidents", *here).out
    assert homeostat("incidents", "other", *here).out == "Nothing went wrong.\n"
    told = homeostat("alerts", "ack", alert["id"], "--as", "ann", "--reason", "on it", *here).out
    assert told == f"alert/{alert['id']} is acknowledged by ann.\n"
    assert "acknowledged" in homeostat("alerts", "ls", *here).out
    again = homeostat("alerts", "ack", alert["id"], *here, status=1)
    assert "was acknowledged by ann" in again.err
    silence = homeostat("alerts", "silence", "dataset/*", "--until", "2h", "--reason", "known", *here).out
    assert "nobody is told of dataset/*" in silence
    assert "until" in homeostat("alerts", "show", "contract:rows", *here).out
    (one,) = homeostat("alerts", "silences", "--json", *here).json
    assert one["reason"] == "known"
    assert "has ended" in homeostat("alerts", "unsilence", one["id"], *here).out
    assert homeostat("alerts", "silences", *here).out == "Nothing is silenced.\n"
    wrong = homeostat("alerts", "silence", "*", "--until", "soon", "--reason", "x", *here, status=1)
    assert "2026-01-31T18:00" in wrong.err
    assert "the log alone" in homeostat("alerts", "channels", *here).out
    kept = homeostat("ledger", "ls", "--kind", "alert.acknowledged", "--json", *here).json
    assert [event["actor"] for event in kept] == ["ann"]


def test_budgets_are_shown(homeostat: Shell, home: Path) -> None:
    (found,) = homeostat("slo", "delay", "--json", "--home", home).json
    (level,) = found["levels"]
    assert (level["total"], level["bad"]) == (100, 40)
    assert level["budget_left"] == pytest.approx(1 - 40)
    assert [burn["fires"] for burn in level["burns"]] == [True, True, True]
    text = homeostat("slo", "--home", home).out
    assert "availability" in text
    assert "-3900.0%" in text
    assert "page, ticket" in text
    assert "declares no service levels" in homeostat("slo", "other", "--home", home, status=1).err


def test_rules_and_dashboard_are_printed(homeostat: Shell) -> None:
    assert yaml.safe_load(homeostat("telemetry", "prometheus-rules").out) == prometheus_rules()
    assert homeostat("telemetry", "grafana").json == grafana_dashboard()


def test_a_row_is_a_line_whatever_a_cell_holds(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["what", "since"], [["two\nlines", "now"], ["one", "then"]])
    assert capsys.readouterr().out.splitlines() == [
        "what       since",
        "two lines  now",
        "one        then",
        "",
    ]
