"""Candidates of one training, after the world has changed: from all rows, and from those since the change.

Where it is only suspected that it changed, or did so again, the rows since then make a candidate as well. All are
judged on the newest labels, which none has seen, by the task's loss. The best one goes on to the gates; a draw goes to
the one that knows more. Beside them stand the champion and the answer that nothing changes: each label is as the one
before (Bifet et al., "Pitfalls in benchmarking data stream classification and how to avoid them", ECML PKDD 2013). All
these losses are kept as metrics of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from homeostat.app.answers import Array, loss_of, told
from homeostat.app.container import Container
from homeostat.app.trainingdata import Split
from homeostat.domain.declarations import Model, Task
from homeostat.domain.records import Run

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What fitting gave.

    Args:
        files: Of the package, by name; they are in the blobs.
        manifest: Their digests.
        metrics: On the rows held out, and what the training function logged.
        rows: How many it was trained on.
        seconds: Real time it took.
        loss: Of the task, the mean on the rows held out, of a regression in the scale of their labels.
    """

    files: Mapping[str, bytes]
    manifest: dict[str, Any]
    metrics: dict[str, float]
    rows: int
    seconds: float
    loss: float = float("nan")


Fit = Callable[[Container, Run, Model, Split, Progress], Fitted]
Answers = Callable[[], Any]
"""What the champion answers on the rows held out; None without one."""

ALL: Final = "all_data"
SINCE: Final = "since_change"
SUSPECTED: Final = "since_suspicion"


def compete(
    container: Container, run: Run, model: Model, rows: Split, progress: Progress, fit: Fit, champion: Answers
) -> tuple[Fitted, Split]:
    """Fit, from all rows or from those since a change; returns what was fitted, and on what.

    Args:
        container: The ports.
        run: Which training.
        model: What it trains.
        rows: All its rows.
        progress: Is told what is being done.
        fit: Fits and packages.
        champion: What the champion answers.
    """
    time = model.task.request.time
    names = {rows.suspected_at: SUSPECTED, rows.changed_at: SINCE}
    cuts = {names[at]: rows.cut(at, time) for at in rows.cuts} if time else {}
    cuts = {who: cut for who, cut in cuts.items() if _teaches(cut) and len(cut.train.y) < len(rows.train.y)}
    if not cuts:
        return fit(container, run, model, rows, progress), rows
    for cut in cuts.values():
        progress(f"also from the {len(cut.train.y):,} since {cut.since:%Y-%m-%d %H:%M}")
    made = {who: fit(container, run, model, of, progress) for who, of in ({ALL: rows} | cuts).items()}
    best = min(made, key=lambda who: made[who].loss)
    measured = loss_of(model.task, told(model.task, rows.holdout.y))
    theirs = champion()
    found = {who: one.loss for who, one in made.items()}
    found["no_change"] = float(measured.of(rows.holdout.y, persistent(model.task, rows)).mean())
    if theirs is not None:
        found["champion"] = float(measured.of(rows.holdout.y, theirs).mean())
    winner = made[best]
    metrics = winner.metrics | {f"holdout_{model.task.loss}_{who}": loss for who, loss in found.items()}
    return (
        Fitted(
            files=winner.files,
            manifest=winner.manifest,
            metrics=metrics,
            rows=winner.rows,
            seconds=sum(one.seconds for one in made.values()),
            loss=winner.loss,
        ),
        cuts.get(best, rows),
    )


def _teaches(rows: Split) -> bool:
    """Whether there is more than one answer among the rows."""
    return len(np.unique(rows.train.y)) > 1


def persistent(task: Task, rows: Split) -> Array:
    """The answer that each label is as the one before it, as often as that was so among the rows to learn from."""
    learned, held = rows.train.y, rows.holdout.y
    before = np.concatenate([learned[-1:], held[:-1]])
    if task.type == "regression":
        return before.astype(np.float64)
    # Counted as if each answer had followed once as often as it is given.
    width = len(task.classes) or 2
    shares = np.bincount(learned.astype(np.int64), minlength=width) / len(learned)
    counts = np.tile(shares, (width, 1))
    np.add.at(counts, (learned[:-1].astype(np.int64), learned[1:].astype(np.int64)), 1.0)
    rates: Array = (counts / counts.sum(1, keepdims=True))[before.astype(np.int64)]
    return rates if task.classes else rates[:, 1]
