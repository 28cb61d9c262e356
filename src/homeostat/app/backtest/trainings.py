"""Trainings that policies share: what one fitted, another that fits the same need not fit again.

A training follows from the rows known by its time, the training function with its parameters, and the features. All
policies of a backtest see the same rows at the same times, so those that train at the same time share what comes of it.
Each is charged with what it took.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from homeostat.app.competing import Fitted, Progress
from homeostat.app.container import Container
from homeostat.app.fitting import fit
from homeostat.app.trainingdata import Split
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.rules import ConceptDrift, DriftTest
from homeostat.domain.digests import digest_of
from homeostat.domain.records import Run

_DECIDED_LATER = (
    "gates",
    "approval",
    "signed",
    "rollout",
    "slo",
    "data_quality",
    "business",
    "retrain",
    "card",
)


class Kept(msgspec.Struct, frozen=True):
    """What a training gave, without its bytes, which are in the blobs."""

    manifest: dict[str, Any]
    metrics: dict[str, float]
    rows: int
    seconds: float
    loss: float


class SharedTrainings:
    """Fits, or takes what was fitted before.

    Args:
        folder: Where what was fitted is kept, by what it follows from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def fit(self, container: Container, run: Run, model: Model, rows: Split, progress: Progress) -> Fitted:
        """As ``fitting.fit``; its seconds are those of a processor."""
        file = self._folder / f"{_key(run, model, rows)}.json"
        with _alone(file.with_suffix(".lock")):
            if file.is_file():
                kept = msgspec.json.decode(file.read_bytes(), type=Kept)
                files = {name: container.blobs.get(digest) for name, digest in kept.manifest["files"].items()}
                return Fitted(
                    files=files,
                    manifest=kept.manifest,
                    metrics=kept.metrics,
                    rows=kept.rows,
                    seconds=kept.seconds,
                    loss=kept.loss,
                )
            before = _spent()
            made = fit(container, run, model, rows, progress)
            seconds = round(_spent() - before, 3)
            fresh = file.with_suffix(".part")
            fresh.write_bytes(
                msgspec.json.encode(Kept(made.manifest, made.metrics, made.rows, seconds, made.loss))
            )
            fresh.replace(file)
            return Fitted(
                files=made.files,
                manifest=made.manifest,
                metrics=made.metrics,
                rows=made.rows,
                seconds=seconds,
                loss=made.loss,
            )


def _key(run: Run, model: Model, rows: Split) -> str:
    said = {name: value for name, value in model.spec().items() if name not in _DECIDED_LATER}
    rules = model.retrain.leaves if model.retrain else ()
    # What a training keeps for the drift rules, beside what they decide later.
    kept = [
        model.retrain.season if model.retrain else (),
        any(isinstance(r, DriftTest) and r.joint for r in rules),
        [model.retrain.check_every for r in rules if isinstance(r, ConceptDrift) and model.retrain],
    ]
    views = [view.digest for view in model.features]
    told = [str(at) for at in (run.data_until, rows.changed_at, rows.since)]
    return digest_of([said, kept, views, run.function, run.params, run.seed, *told])[7:]


def _spent() -> float:
    """Seconds of a processor that this process has taken."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """While the block lasts, no other process is in it with the same file."""
    with file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
