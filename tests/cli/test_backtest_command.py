"""``backtest``: the table, the chart, and the same again when it is asked for once more."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.app.backtest.streaming import BEGIN, NEVER, history, project
from tests.cli.invoking import Shell

pytestmark = pytest.mark.slow


def test_a_policy_beside_what_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path / "answers")
    (tmp_path / "never.py").write_text(NEVER)
    shell = Shell(tmp_path, monkeypatch, capsys)
    end = BEGIN + timedelta(days=3)
    asked = ["backtest", "answers", "--from", f"{BEGIN:%Y-%m-%d}", "--to", f"{end:%Y-%m-%d}"]
    asked += ["--policy", "never.py", "--beside", "every:2d", "--data", history(tmp_path / "tables")]
    done = shell(*asked, "--html", "chart.html")
    heading, *rows = done.out.strip().splitlines()
    assert heading.split()[:3] == ["policy", "labelled", "log"]
    assert [row.split("  ")[0] for row in rows] == ["never", "every 2d"]
    page = (tmp_path / "chart.html").read_text()
    assert page.count("<polyline") == 2
    assert "trained every 2d" in page  # each mark says why
    again = shell(*asked, "--json").json
    assert [one["policy"] for one in again] == ["never", "every 2d"]
    assert [len(one["trainings"]) for one in again] == [1, 2]
    assert "--from" in shell("backtest", "answers", status=1).err
