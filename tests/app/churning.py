"""A small project, trained in a second: who leaves, in two to three plans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.training import execute, submit
from homeostat.domain.records import ModelVersion

PROJECT = """
from typing import Annotated, Literal
import homeostat as hs
from sklearn.linear_model import LogisticRegression

class Customer(hs.Contract):
    id: int
    plan: Literal["a", "b", "c"]
    usage: Annotated[float, hs.Check(ge=-9, le=9, unit="GB")]
    churned: bool | None

customers = hs.Dataset("customers", key="id", path="customers.csv", contract=Customer)

@hs.on_request
def asked(r):
    import polars as pl
    return r.select("usage", is_a=(pl.col("plan") == "a").cast(pl.Float64))

def train(data, *, C: float = 1.0):
    return LogisticRegression(C=C).fit(data.X, data.y)

churn = hs.Model(
    "churn",
    task=hs.Binary(label="churned", source=customers),
    features=[asked],
    train=train,
    gates=[hs.worst_slice("plan", "auc", at_least=0.5, min_rows=20), hs.calibrated(within=0.9)],
    slo=hs.SLO(auc=0.6),
    # more
)
"""


def declare(container: Container, folder: Path, more: str = "") -> None:
    """Apply the project in a folder, with more said of its model."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    usage = rng.normal(size=600).clip(-8, 8)
    plans = rng.choice(["a", "b", "c"], 600, p=[0.6, 0.32, 0.08])
    frame = {"id": range(600), "plan": plans, "usage": usage, "churned": usage + rng.normal(size=600) > 0}
    pl.DataFrame(frame).write_csv(folder / "customers.csv")
    (folder / "project.py").write_text(PROJECT.replace("# more", more))
    apply(container, load_project(folder))


def trained(container: Container, **params: float) -> ModelVersion:
    """Train, judge, and let what follows from it happen."""
    made = execute(container, submit(container, "churn", reason="asked for", actor="ann", params=params).id)
    assert made is not None
    assert made.stage == "accepted", made.stage_reason
    react_all(container)
    return made
