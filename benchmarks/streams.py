"""Streams whose world changes at known times: the loop beside what else decides when to train, in backtests.

The streams are made by river's generators (Montiel et al., "River: machine learning for streaming data in Python",
JMLR 22, 2021), abrupt ones and gradual ones. Requests come 100 a day, their labels with the same step; the first model
is trained on 2,000 of them. Every policy has the same model, gates and rows.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks.measure import Line, Section
from homeostat.app.backtest.history import files_in
from homeostat.app.backtest.policies import DECLARED, DETECTORS, beside
from homeostat.app.backtest.results import Result
from homeostat.app.backtest.running import prepare
from homeostat.app.backtest.running import run as replay
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings

ROWS: Final = int(os.environ.get("STREAM_ROWS", "12000"))
SEED: Final = int(os.environ.get("STREAM_SEED", "1"))
_FIRST: Final = 2_000
_A_DAY: Final = 100
_PERIODS: Final = ("5d", "10d", "20d", "40d")
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PROJECT: Final = """
import homeostat as hs
from sklearn.ensemble import HistGradientBoostingClassifier

asked = hs.Dataset("asked", key="id", time="at")
answered = hs.Dataset("answered", key="id", time="known")

@hs.on_request
def given(r):
    return r.select({columns})

def train(data):
    model = HistGradientBoostingClassifier(max_iter=40, learning_rate=0.15, early_stopping=False, random_state=0)
    return model.fit(data.X, data.y)

stream = hs.Model(
    "stream",
    task=hs.Binary(label="y", source=answered, request=asked),
    features=[given],
    train=train,
    holdout="5d",
    gates=[hs.beats("champion", "log_loss")],
    retrain=hs.when(hs.concept_drift(), hs.new_labels(growth=0.5)),
)
"""


def run() -> Section:
    """Replay each stream under each policy."""
    lines = []
    for name, rows in streams(ROWS, SEED).items():
        print(f"  {name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            lines.append(_line(name, _replayed(Path(folder), list(rows))))
    return Section(
        title="Streams whose world changes",
        about=(
            f"Accuracy of {ROWS - _FIRST:,} answers after the first model, and trainings, of the loop with "
            "`hs.concept_drift()` and `hs.new_labels(growth=0.5)`, beside the best of "
            f"{', '.join(_PERIODS)} with hindsight (100 requests a day), the frozen model, and river's detectors. "
            "A training after a change fits two candidates. Streams by river, "
            f"changed half way or at each third; seed {SEED}."
        ),
        lines=lines,
        bare="best fixed interval; frozen; detectors",
    )


def streams(rows: int, seed: int) -> dict[str, Iterator[Any]]:
    """Rows of features and label, by what they are called."""
    from river.datasets import synth

    def sea(variant: int) -> Any:
        return synth.SEA(variant=variant, noise=0.1, seed=seed + variant)

    def agrawal(function: int) -> Any:
        return synth.Agrawal(classification_function=function, perturbation=0.05, seed=seed + function)

    def rbf(model: int) -> Any:
        return synth.RandomRBF(seed_model=seed + model, seed_sample=seed, n_features=8, n_centroids=20)

    def plane(number: int) -> Any:
        return synth.Hyperplane(seed=seed + number, noise_percentage=0.05)

    def abrupt(*parts: Any) -> Iterator[Any]:
        each = -(-rows // len(parts))
        found = itertools.chain.from_iterable(itertools.islice(iter(part), each) for part in parts)
        return itertools.islice(found, rows)

    def gradual(before: Any, after: Any) -> Iterator[Any]:
        changing = synth.ConceptDriftStream(
            before, after, position=rows // 2, width=max(rows // 10, 120), seed=seed
        )
        return itertools.islice(iter(changing), rows)

    return {
        "SEA, no change": abrupt(sea(0)),
        "SEA, abrupt": abrupt(sea(0), sea(3)),
        "SEA, gradual": gradual(sea(0), sea(3)),
        "Agrawal, no change": abrupt(agrawal(0)),
        "Agrawal, two abrupt": abrupt(agrawal(0), agrawal(2), agrawal(4)),
        "Agrawal, gradual": gradual(agrawal(1), agrawal(6)),
        "RBF, no change": abrupt(rbf(0)),
        "RBF, abrupt": abrupt(rbf(0), rbf(1)),
        "RBF, gradual": gradual(rbf(0), rbf(1)),
        "Hyperplane, no change": abrupt(plane(0)),
        "Hyperplane, abrupt": abrupt(plane(0), plane(1)),
        "Hyperplane, moving": abrupt(
            synth.Hyperplane(seed=seed, n_drift_features=5, mag_change=0.001, noise_percentage=0.05)
        ),
    }


def _replayed(folder: Path, rows: Sequence[Any]) -> dict[str, Result]:
    tables = folder / "tables"
    tables.mkdir()
    at = [_START + timedelta(days=1) * place / _A_DAY for place in range(len(rows))]
    columns = [f"x{place}" for place in range(len(rows[0][0]))]
    values = [[float(value) for value in x.values()] for x, _ in rows]
    ids = {"id": list(range(len(rows)))}
    asked = pl.DataFrame(values, schema=columns, orient="row").with_columns(
        pl.Series("id", ids["id"]), pl.Series("at", at)
    )
    asked.write_parquet(tables / "asked.parquet")
    answered = pl.DataFrame(ids | {"known": at, "y": [int(y) for _, y in rows]})
    answered.write_parquet(tables / "answered.parquet")
    file = folder / "stream" / "project.py"
    file.parent.mkdir()
    file.write_text(_PROJECT.format(columns=", ".join(map(repr, columns))), "utf-8")
    others = [beside(text, "1d") for text in ("frozen", *(f"every:{one}" for one in _PERIODS), *DETECTORS)]
    begin = _START + timedelta(days=_FIRST / _A_DAY)
    end = _START + timedelta(days=len(rows) / _A_DAY)
    with Container(Settings(home=folder / "home")) as container:
        plan = prepare(
            container,
            load_project(file),
            [DECLARED, *others],
            start=begin,
            end=end,
            data=files_in(tables),
        )
        found = replay(container, plan, lambda shares: None)
    return {one.policy: one for one in found}


def _line(name: str, found: dict[str, Result]) -> Line:
    fixed = [one for policy, one in found.items() if policy.startswith("every ")]
    best = max(fixed, key=lambda one: one.metrics["accuracy"])
    others = [found[policy] for policy in ("frozen", *DETECTORS)]
    return Line(name, _told(found["declared"]), "; ".join(_told(one, named=True) for one in (best, *others)))


def _told(one: Result, *, named: bool = False) -> str:
    return f"{f'{one.policy} ' if named else ''}{one.metrics['accuracy']:.4f} ({len(one.retrained)})"
