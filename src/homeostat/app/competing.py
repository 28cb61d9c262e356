"""Two candidates of one training, after the world has changed: from all rows, and from those since the change.

Both are judged on the newest labels, which neither has seen, by the task's loss. The better one goes on to the gates; a
draw goes to the one that knows more. Beside them stand the champion and the answer that nothing changes: each label is
as the one before (Bifet et al., "Pitfalls in benchmarking data stream classification and how to avoid them", ECML PKDD
2013). All four losses are kept as metrics of the run.
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


def compete(
    container: Container, run: Run, model: Model, rows: Split, progress: Progress, fit: Fit, champion: Answers
) -> tuple[Fitted, Split]:
    """Fit, from all rows or from those since the change; returns what was fitted, and on what.

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
    if rows.changed_at is None or time is None:
        return fit(container, run, model, rows, progress), rows
    cut = rows.cut(rows.changed_at, time)
    if not _teaches(cut) or len(cut.train.y) == len(rows.train.y):
        return fit(container, run, model, rows, progress), rows
    progress(f"from all rows, and from the {len(cut.train.y):,} since {rows.changed_at:%Y-%m-%d %H:%M}")
    whole = fit(container, run, model, rows, progress)
    recent = fit(container, run, model, cut, progress)
    measured = loss_of(model.task, told(model.task, rows.holdout.y))
    theirs = champion()
    found = {ALL: whole.loss, SINCE: recent.loss}
    found["no_change"] = float(measured.of(rows.holdout.y, persistent(model.task, rows)).mean())
    if theirs is not None:
        found["champion"] = float(measured.of(rows.holdout.y, theirs).mean())
    winner, where = (recent, cut) if recent.loss < whole.loss else (whole, rows)
    metrics = winner.metrics | {f"holdout_{model.task.loss}_{who}": loss for who, loss in found.items()}
    return (
        Fitted(
            files=winner.files,
            manifest=winner.manifest,
            metrics=metrics,
            rows=winner.rows,
            seconds=whole.seconds + recent.seconds,
            loss=winner.loss,
        ),
        where,
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
