"""``shadow``, ``label``, ``replay``, ``predict`` and ``why deployment/…``: what they print, without a server."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.datasets import append_log
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.training import execute, submit
from homeostat.engine.serving.log import to_frame
from homeostat.engine.serving.predictions import Prediction, decide, shadow
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.routing import LiveArm, Routes
from tests.cli.invoking import Shell

PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

rows = hs.Dataset("rows", key="id", path="rows.csv")


def train(data, *, c: float = 1.0):
    return LogisticRegression(C=c).fit(data.X, data.y)


shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=rows),
    train=train,
    rollout=hs.Canary(share=0.2, watch=["errors"]),
)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion, a canary, and three answers that a shadow saw too."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "project.py").write_text(PROJECT)
    lines = [f"{i},{(i * 37) % 100 / 50 - 1},{int((i * 37) % 100 > 50)}" for i in range(200)]
    (folder / "rows.csv").write_text("\n".join(["id,size,good", *lines]))
    with Container(Settings(home=folder / "home")) as container:
        apply(container, load_project(folder))
        for c in (1.0, 0.1):
            execute(container, submit(container, "shop", reason="again", params={"c": c}).id)
            react_all(container)
        loaded = [load_version(container, "shop", version) for version in (1, 2)]
        arms = [LiveArm(1, "champion", 1.0, loaded[0].scorer), LiveArm(2, "shadow", 1.0, loaded[1].scorer)]
        reader, now = RequestReader(loaded[0].columns), container.clock.now()
        routes = Routes("shop", arms)
        items = [
            Prediction(
                f"p{n}", reader.convert({"id": 1000 + n, "size": n / 10}), str(1000 + n), now, now, routes
            )
            for n in range(3)
        ]
        decide(items)
        shadow(items)
        append_log(container, "shop.predictions", to_frame(items))
    return folder / "home"


@pytest.fixture
def shop(homeostat: Shell, home: Path) -> Shell:
    shutil.copytree(home, homeostat.folder / ".homeostat")
    return homeostat


def test_what_was_tried_out_is_shown_with_its_evidence(shop: Shell) -> None:
    told = shop("why", "deployment/shop").out
    assert "canary of @1 and @2, running" in told
    assert "errors" in told
    assert "decides at" in told
    (one,) = shop("why", "deployment/shop", "--json").json
    assert one["evidence"][0]["what"] == "errors"
    assert "trying out" in shop("status").out
    shop("rollback", "shop", "--reason", "enough")
    assert "rolled-back" in shop("why", "deployment/shop").out
    assert "there is no deployment/none" in shop("why", "deployment/none", status=1).err


def test_a_shadow_begins_reports_and_ends(shop: Shell) -> None:
    shop("rollback", "shop")
    assert "scores 50% of the requests" in shop("shadow", "start", "shop@2", "--share", "0.5").out
    assert "@2 shadow 50%" in shop("status").out
    (shop.folder / "labels.csv").write_text("prediction_id,label\np0,0\np1,1\n")
    assert "Took 2 labels for deployment/shop" in shop("label", "shop", "labels.csv").out
    told = shop("shadow", "report", "shop").out
    assert "model/shop@2 beside what answered" in told
    assert "log loss, shadow" in told
    found = shop("shadow", "report", "shop@2", "--json").json
    assert (found["compared"], found["labelled"]) == (3, 2)
    assert "has no shadow" in shop("shadow", "stop", "shop").out
    assert "names no version" in shop("shadow", "start", "shop", status=1).err


def test_an_answer_is_computed_again(shop: Shell) -> None:
    told = shop("replay", "prediction/p1").out
    assert "1. request   id=1001, size=0.1" in told
    assert "model/shop@1, sha256:" in told
    assert "It matches" in told
    assert shop("replay", "p1", "--json").json["matches"]
    assert "no prediction log holds" in shop("replay", "none", status=1).err


def test_a_prediction_and_a_model_are_explained(shop: Shell) -> None:
    told = shop("explain", "prediction/p1").out
    assert "prediction/p1, answered 0." in told
    assert "(log-odds); linear, exact, against 3 requests that it was asked with." in told
    (one,) = shop("explain", "p1", "--json").json["contributions"]
    assert one["feature"] == "size"
    assert "model/shop@1, 3 requests of the newest 7d" in shop("explain", "model/shop").out
    first = shop("monitor", "outliers", "shop", "--json").json[0]
    assert first["prediction"].startswith("prediction/p")
    assert first["why"][0]["feature"] == "size"
    assert "size = " in shop("monitor", "outliers", "shop", "--limit", "1").out
    assert "the limit is 0" in shop("monitor", "outliers", "shop", "--limit", "0", status=1).err
    assert "nothing was asked of" in shop("monitor", "outliers", "none", status=1).err
    assert "no prediction log holds" in shop("explain", "none", status=1).err


def test_a_table_is_answered(shop: Shell) -> None:
    (shop.folder / "rows.csv").write_text("id,size\n1,0.5\n2,-0.5\n")
    told = shop("predict", "model/shop@champion", "-i", "rows.csv", "-o", "answers.parquet")
    assert "Answered 2 rows with model/shop@1: answers.parquet" in told.out
    assert "2 rows" in told.err
    assert pl.read_parquet(shop.folder / "answers.parquet").columns == ["id", "size", "score"]
    (shop.folder / "wrong.csv").write_text("id,size\n1,much\n")
    refused = shop("predict", "model/shop@1", "-i", "wrong.csv", "-o", "answers.csv", status=1).err
    assert "row 1" in refused
    kept = shop(
        "predict", "model/shop@1", "-i", "wrong.csv", "-o", "answers.csv", "--on-error", "keep", "--json"
    ).json
    assert (kept["rows"], kept["failed"]) == (1, 1)


def test_quality_is_shown_as_far_as_it_is_known(shop: Shell, tmp_path: Path) -> None:
    before = shop("quality", "shop", "--json").json
    assert (before["labelled"], before["unlabelled"]) == (0, 3)
    labels = tmp_path / "labels.csv"
    labels.write_text("prediction_id,label\np0,0\np1,1\np2,1\n")
    shop("label", "shop", labels)
    said = shop("quality", "shop", "--window", "30d").out
    assert "3 of 3 answered requests have a label" in said
    assert "log_loss" in said
    assert "Labels come half within" in said
    assert "3 requests, 0 in as long a time before" in said
    assert "nothing was asked of deployment/none yet" in shop("quality", "none", status=1).err
