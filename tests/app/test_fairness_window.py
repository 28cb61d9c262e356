"""Declared groups are compared in each window, against what the service level promises."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.app.container import Container
from homeostat.app.outcomes import label
from homeostat.app.projects import load_project
from homeostat.app.quality import assess, quality_windows
from homeostat.app.settings import Settings
from homeostat.app.traffic import Traffic
from homeostat.domain.errors import DeclarationError
from homeostat.domain.records import Project
from tests.app.asking import ask
from tests.app.churning import declare, trained

MORE = 'fairness=hs.Fairness(of=["plan"], by=["selection_rate", "true_positive_rate"], min_rows=40),'


def test_disparities_are_windows_that_are_judged(tmp_path: Path) -> None:
    folder = tmp_path / "churn"
    with Container(Settings(home=tmp_path / "home")) as container:
        declare(container, folder, MORE)
        trained(container)
        rng = np.random.default_rng(7)
        plan = rng.choice(["a", "b", "c"], 300, p=[0.5, 0.45, 0.05])
        usage = np.where(plan == "a", 1.0, -1.0) + rng.normal(0, 0.3, 300)
        requests = pl.DataFrame({"id": np.arange(9000, 9300), "plan": plan, "usage": usage})
        items = ask(container, "churn", requests)
        label(container, "churn", {item.id: bool(one > 0) for item, one in zip(items, usage, strict=True)})
        declared = load_project(folder).models["churn"]
        log = Traffic(container, "churn")
        windows = {w.monitor: w for w in quality_windows(container, declared, log, container.clock.now())}
        found = windows["fairness"]
        assert found.value == pytest.approx(1.0, abs=0.05)
        assert (found.threshold, found.breached) == (None, False)
        selected, hits = found.detail["compared"]
        assert (selected["column"], selected["rate"]) == ("plan", "selection_rate")
        assert selected["groups"]["a"] > 0.95
        assert selected["rows"]["c"] < 40  # shown, and not compared
        assert hits["disparity"] is None or hits["disparity"] <= 1.0
        fair = assess(container, "churn").fairness
        assert fair is not None
        assert fair.largest == found.value


def test_a_missing_library_is_named_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fairlearn", None)  # as where it is not installed
    with Container(Settings(home=tmp_path / "home")) as container:
        with pytest.raises(DeclarationError, match="needs fairlearn, which is not installed") as caught:
            declare(container, tmp_path / "churn", MORE)
        assert caught.value.remedy == "Run: pip install 'homeostat[fairness]'"
        assert not container.store.find(Project)
        declare(container, tmp_path / "churn")  # who compares no groups needs none


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('fairness=hs.Fairness(of="plan"),', "names no columns"),
        ('fairness=hs.Fairness(of=["plan"], by=["luck"]),', "compares no 'luck'"),
        ('fairness=hs.Fairness(of=["plan"], by=["mean_prediction"]),', "which hs.Binary does not have"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, more: str, said: str) -> None:
    with (
        Container(Settings(home=tmp_path / "home")) as container,
        pytest.raises(DeclarationError, match=said),
    ):
        declare(container, tmp_path / "churn", more)
