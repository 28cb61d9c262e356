"""What a policy did: the quality of its answers over time, and what that took."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.answers import predictions, together
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.quality import join_labels, measures_of
from homeostat.app.reading import read
from homeostat.app.registry.pointers import champion_version
from homeostat.domain import records
from homeostat.domain.declarations import Model
from homeostat.domain.declarations.tasks import Task
from homeostat.engine.registry.metrics import Measures

_FIRST: Final = ("log_loss", "auc", "accuracy")
_FILE: Final = "result.json"


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """One training: why it began and what became of its version."""

    at: datetime
    reason: str
    rows: int
    version: int
    outcome: str
    because: str
    seconds: float


class Span(msgspec.Struct, frozen=True):
    """The quality of the labelled answers to requests since ``start``, until the next span."""

    start: datetime
    rows: int
    metrics: dict[str, float]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One policy, replayed.

    Args:
        policy: Its name.
        given: Whether somebody wrote it.
        requests: That were answered.
        labelled: Of these, those whose label has come.
        metrics: On the labelled ones, those of the task: ``log_loss`` (nats per request), ``auc`` and others.
        shown: The names of those that tell most, the one that is drawn first.
        spans: The same by week, or by a fortieth of a shorter time.
        trainings: Each, the oldest first; the first is that before the replay.
        pages: Alerts that would have paged somebody.
        tickets: Other alerts.
        seconds: Of a processor, that its trainings took; those before the replay do not count.
    """

    policy: str
    given: bool
    requests: int
    labelled: int
    metrics: dict[str, float]
    shown: list[str]
    spans: list[Span]
    trainings: list[Trained]
    pages: int
    tickets: int
    seconds: float

    @property
    def retrained(self) -> list[Trained]:
        """The trainings of the replay."""
        return self.trainings[1:]

    def of(self, policy: str, *, given: bool, reasons: Mapping[str, str]) -> Result:
        """As that of another policy, whose trainings began for ``reasons`` by those of this."""
        made = [
            msgspec.structs.replace(one, reason=reasons.get(one.reason, one.reason)) for one in self.trainings
        ]
        return msgspec.structs.replace(self, policy=policy, given=given, trainings=made)


def is_kept(home: Path) -> bool:
    """Whether the folder of a policy holds its result: it was replayed."""
    return (home / _FILE).is_file()


def kept(home: Path) -> Result:
    """The result that the folder of a policy holds."""
    return msgspec.json.decode((home / _FILE).read_bytes(), type=Result)


def keep(home: Path, result: Result) -> None:
    """Keep the result of a policy in its folder."""
    fresh = home / f"{_FILE}.part"
    fresh.write_bytes(msgspec.json.encode(result))
    fresh.replace(home / _FILE)


def result(
    container: Container, model: Model, policy: str, given: bool, span: timedelta, start: datetime
) -> Result:
    """What the store of a policy holds once it has been replayed."""
    log = read(container, log_of(model.name)).filter(pl.col("score").is_not_null()).collect()
    rows = join_labels(container, model, log)
    known = rows.filter(pl.col(model.task.label).is_not_null()).sort("time")
    alerts = container.store.find(records.Alert)
    measures = measures_of(model, champion_version(container.store, model.name))
    done = trainings(container, model.name)
    return Result(
        policy=policy,
        given=given,
        requests=log.height,
        labelled=known.height,
        metrics=_measured(model, known, measures),
        shown=_shown(model.task),
        spans=_spans(model, known, measures, span, start),
        trainings=done,
        pages=sum(one.severity == "page" for one in alerts),
        tickets=sum(one.severity == "ticket" for one in alerts),
        seconds=round(sum(one.seconds for one in done[1:]), 3),
    )


def _shown(task: Task) -> list[str]:
    names = list(task.names)
    return [name for name in _FIRST if name in names] or names[: len(_FIRST)]


def _measured(model: Model, rows: pl.DataFrame, measures: Measures) -> dict[str, float]:
    task = model.task
    return measures.evaluate(rows[task.label].to_numpy(), predictions(task, rows), together(task, rows))


def _spans(
    model: Model, known: pl.DataFrame, measures: Measures, span: timedelta, start: datetime
) -> list[Span]:
    if not known.height:
        return []
    place = ((pl.col("time") - start).dt.total_microseconds() // (span // timedelta(microseconds=1))).alias(
        "_span"
    )
    parts: dict[tuple[Any, ...], pl.DataFrame] = known.with_columns(place).partition_by(
        "_span", as_dict=True, maintain_order=True
    )
    return [
        Span(start + int(number) * span, part.height, _measured(model, part, measures))
        for (number,), part in parts.items()
    ]


def trainings(container: Container, model: str) -> list[Trained]:
    """Every training that was not given up, the oldest first."""
    versions = {one.run: one for one in container.store.find(records.ModelVersion, ("model", "=", model))}
    withdrawn = {
        one.candidate: one.reason
        for one in container.store.find(records.Rollout, ("state", "=", "rolled-back"))
    }
    out = []
    for run in container.store.find(
        records.Run, ("model", "=", model), ("kind", "=", "train"), order=["created_at", "id"]
    ):
        version = versions.get(run.id)
        if version is None:
            if run.state == "failed" and not run.error.startswith("its process"):
                out.append(_trained(run, 0, "failed", run.error))
            continue
        if version.version in withdrawn:
            out.append(_trained(run, version.version, "rolled-back", withdrawn[version.version]))
        else:
            stage = "promoted" if version.stage in ("champion", "retired") else version.stage
            out.append(_trained(run, version.version, stage, version.stage_reason))
    return out


def _trained(run: records.Run, version: int, outcome: str, because: str) -> Trained:
    return Trained(
        at=run.created_at,
        reason=run.reason,
        rows=run.rows,
        version=version,
        outcome=outcome,
        because=because,
        seconds=run.seconds or 0.0,
    )
