"""Streams whose world changes at known times: the loop beside what else decides when to train, in backtests.

The streams are made by river's generators (Montiel et al., "River: machine learning for streaming data in Python",
JMLR 22, 2021), abrupt ones and gradual ones. Requests come 100 a day, their labels with the same step; the first model
is trained on 2,000 of them. Every policy has the same model, gates and rows; the oracle knows the changes, trains once
100 labels have come since one, cuts there as the loop does, and then as labels grow.

The loop reaches another policy's quality where the difference of their accuracies, of answers to the same requests, is
not below 0 by more than 1.645 standard errors of paired differences, as in McNemar's test of one side with 0.05. How
often it is not below 0 at all is told beside that.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.measure import Line, Section
from homeostat.app.backtest import job
from homeostat.app.backtest.history import files_in
from homeostat.app.backtest.plan import Plan, read_plan
from homeostat.app.backtest.policies import DECLARED, DETECTORS, Policy, beside
from homeostat.app.backtest.results import Result
from homeostat.app.backtest.running import prepare
from homeostat.app.backtest.running import run as replay
from homeostat.app.backtest.world import Store
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.projects import load_project
from homeostat.app.reading import read
from homeostat.app.settings import Settings

ROWS: Final = int(os.environ.get("STREAM_ROWS", "12000"))
SEED: Final = int(os.environ.get("STREAM_SEED", "1"))
_FIRST: Final = 2_000
_A_DAY: Final = 100
_PERIODS: Final = ("5d", "10d", "20d", "40d")
_NOISE: Final = 1.645
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
    retrain=hs.when(hs.concept_drift(), hs.new_labels(growth=1.0)),
)
"""


@dataclass(frozen=True)
class Stream:
    """Rows of features and label, and before which of them the world changes."""

    rows: Iterator[Any]
    changes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Replayed:
    """What a policy did, and which of its answers were right, in the order of the requests."""

    told: Result
    right: npt.NDArray[np.bool_]

    @property
    def trainings(self) -> int:
        return len(self.told.retrained)

    def ahead(self, other: Replayed) -> float:
        """By how much more of its answers are right."""
        return float(self.right.mean() - other.right.mean())

    def reaches(self, other: Replayed) -> bool:
        """Whether its accuracy is not lower, but by what noise explains."""
        differences = self.right.astype(float) - other.right
        return self.ahead(other) + _NOISE * float(differences.std()) / len(differences) ** 0.5 >= 0


def run() -> Section:
    """Replay each stream under each policy."""
    found = {}
    for name, stream in streams(ROWS, SEED).items():
        print(f"  {name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            found[name] = _replayed(Path(folder), list(stream.rows), stream.changes)
    return Section(
        title="Streams whose world changes",
        about=(
            f"Accuracy of {ROWS - _FIRST:,} answers after the first model, and trainings, of the loop with "
            "`hs.concept_drift()` and `hs.new_labels(growth=1.0)`, beside the best of "
            f"{', '.join(_PERIODS)} with hindsight (100 requests a day), an oracle that knows the changes, the frozen "
            "model, and river's detectors. A training after a change fits two or three candidates. Streams by river, "
            f"changed half way or at each third; {datetime.now(UTC):%Y-%m-%d}, seed {SEED}; the rules' defaults "
            f"were chosen on 1 and 7.\n\n{_verdict(list(found.values()))}"
        ),
        lines=[_line(name, policies) for name, policies in found.items()],
        bare="best fixed interval; oracle; frozen; detectors",
    )


def streams(rows: int, seed: int) -> dict[str, Stream]:
    """Streams by what they are called."""
    from river.datasets import synth

    def sea(variant: int) -> Any:
        return synth.SEA(variant=variant, noise=0.1, seed=seed + variant)

    def agrawal(function: int) -> Any:
        return synth.Agrawal(classification_function=function, perturbation=0.05, seed=seed + function)

    def rbf(model: int) -> Any:
        return synth.RandomRBF(seed_model=seed + model, seed_sample=seed, n_features=8, n_centroids=20)

    def plane(number: int) -> Any:
        return synth.Hyperplane(seed=seed + number, noise_percentage=0.05)

    def abrupt(*parts: Any) -> Stream:
        each = -(-rows // len(parts))
        found = itertools.chain.from_iterable(itertools.islice(iter(part), each) for part in parts)
        return Stream(itertools.islice(found, rows), tuple(range(each, rows, each)))

    def gradual(before: Any, after: Any) -> Stream:
        changing = synth.ConceptDriftStream(
            before, after, position=rows // 2, width=max(rows // 10, 120), seed=seed
        )
        return Stream(itertools.islice(iter(changing), rows), (rows // 2,))

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


def _replayed(folder: Path, rows: Sequence[Any], changes: Sequence[int]) -> dict[str, Replayed]:
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
    names = ("frozen", "oracle", *(f"every:{one}" for one in _PERIODS), *DETECTORS)
    others = [beside(text, "1d", tuple(at[change] for change in changes)) for text in names]
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
        # One after another in this process: most of what a small replay takes is the start of another.
        policies = read_plan(plan).policies
        for number in range(len(policies)):
            job.main([str(plan), str(number)])
        found = replay(container, plan, lambda shares: None)
    y = answered["y"].to_numpy()
    return {
        policy.name: Replayed(result, _right(read_plan(plan), plan, policy, y))
        for policy, result in zip(policies, found, strict=True)
    }


def _right(plan: Plan, folder: Path, policy: Policy, y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    with Store(plan.home(folder, policy) / "home", folder / "blobs") as container:
        log = read(container, log_of(plan.model)).select(pl.col("key").cast(pl.Int64), "score").sort("key")
        answers = log.collect()
    right: npt.NDArray[np.bool_] = (answers["score"].to_numpy() >= 0.5) == y[answers["key"].to_numpy()]
    return right


def _best(found: Mapping[str, Replayed]) -> Replayed:
    """The best fixed interval, known with hindsight."""
    fixed = [one for policy, one in found.items() if policy.startswith("every ")]
    return max(fixed, key=lambda one: float(one.right.mean()))


def _verdict(found: Sequence[Mapping[str, Replayed]]) -> str:
    """How often the loop does what it is there for; in brackets without an allowance for noise."""
    loops = [(one["declared"], _best(one), one["frozen"]) for one in found]
    half = [loop.trainings <= best.trainings / 2 for loop, best, _ in loops]
    reached = [loop.reaches(best) for loop, best, _ in loops]
    ahead = [loop.ahead(best) >= 0 for loop, best, _ in loops]
    kept = sum(loop.reaches(frozen) for loop, _, frozen in loops)
    above = sum(loop.ahead(frozen) >= 0 for loop, _, frozen in loops)
    both = sum(a and b for a, b in zip(reached, half, strict=True))
    strictly = sum(a and b for a, b in zip(ahead, half, strict=True))
    return (
        f"Of {len(loops)} streams the loop does not lose to the frozen model on {kept} ({above} without an allowance "
        f"for noise), reaches the best fixed interval on {sum(reached)} ({sum(ahead)}), takes at most half its "
        f"trainings on {sum(half)}, and does both on {both} ({strictly}). The allowance: a paired test of the answers, "
        f"{_NOISE} standard errors of the difference."
    )


def _line(name: str, found: Mapping[str, Replayed]) -> Line:
    loop, best = found["declared"], _best(found)
    said = "reached" if loop.reaches(best) else "not reached"
    others = [_told(found[policy], named=True) for policy in ("oracle", "frozen", *DETECTORS)]
    return Line(name, _told(loop), "; ".join([f"{_told(best, named=True)}, {said}", *others]))


def _told(one: Replayed, *, named: bool = False) -> str:
    return f"{f'{one.told.policy} ' if named else ''}{one.right.mean():.4f} ({one.trainings})"
