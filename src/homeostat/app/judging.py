"""The gates: a candidate becomes accepted or rejected, and the evidence stays with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import polars as pl
from threadpoolctl import threadpool_limits

from homeostat.app import attempts
from homeostat.app.answers import constant, together
from homeostat.app.apply import feature_set
from homeostat.app.code import declared
from homeostat.app.competing import persistent
from homeostat.app.container import Container
from homeostat.app.projects import checkout, importing
from homeostat.app.registry.pointers import champion_version
from homeostat.app.trainingdata import Split, split
from homeostat.domain.declarations import Model
from homeostat.domain.errors import NotFound, StoreUnavailable
from homeostat.domain.events import Event
from homeostat.domain.records import GateResult, ModelVersion, Run
from homeostat.domain.refs import Ref
from homeostat.engine.features.featureset import FeatureSet, online_key
from homeostat.engine.registry import gates, package
from homeostat.engine.registry.metrics import measures

_SAMPLES = 200
_JUDGE = "judge:"

_log = logging.getLogger(__name__)


class Champion(NamedTuple):
    """What the champion answers on the rows held out; where it gives none, why."""

    scores: Any | None
    why_not: str = ""


def judge(container: Container, model: str, version: int, rows: Split | None = None) -> ModelVersion:
    """Let every gate judge a candidate on its held-out rows; repeating it changes nothing.

    Args:
        container: The ports.
        model: The model's name.
        version: The candidate.
        rows: The run's rows, where the caller still has them.

    Raises:
        NotFound: there is no such version, or its run or files are gone.
        StoreUnavailable: a store does not answer, which is no fault of the candidate's: it is judged again.
    """
    try:
        return _judge(container, model, version, rows)
    except StoreUnavailable:
        with container.store.begin() as tx:
            attempts.excuse(tx, f"{_JUDGE}{model}", version)
        raise


def _judge(container: Container, model: str, version: int, rows: Split | None) -> ModelVersion:
    record = container.store.get(ModelVersion, model, version)
    run = container.store.get(Run, record.run) if record else None
    if record is None or run is None:
        raise NotFound(f"there is no model/{model}@{version}", remedy="homeostat status lists the versions")
    if record.stage != "candidate":
        return record
    declaration = declared(container, run.code).models[model]
    features = feature_set(container, declaration)
    rows = rows or split(container, run, declaration, features)
    try:
        with importing(checkout(container.blobs, run.code, container.settings.home)):
            candidate = container.package(record, declaration.trusted)
    except (StoreUnavailable, OSError):
        raise  # no verdict: it is judged again, as often as a process that ended is
    except Exception as error:  # noqa: BLE001 - it cannot be loaded, whatever that raises
        return _record(container, record, [_failed(f"{type(error).__name__}: {error}")])
    champion = champion_answers(container, declaration, features, rows)
    try:
        evidence = _evidence(container, declaration, features, candidate, rows, record.metrics, champion)
        # As in a model server, where each process has one core and requests have few rows.
        with threadpool_limits(1), pl.Config(engine_affinity="in-memory"):
            verdicts = [gates.judge(gate, evidence) for gate in declaration.gates]
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - else it would be judged again for ever, and fail each time
        verdicts = [_failed(f"{type(error).__name__}: {error}")]
    return _record(container, record, verdicts)


def may_judge(container: Container, record: ModelVersion) -> bool:
    """Whether a candidate that nobody judges is to be judged now, which counts as an attempt (`attempts`).

    One on which every attempt ended without a verdict is rejected, but for those that a store ended.
    """
    of, now = f"{_JUDGE}{record.model}", container.clock.wall()
    if attempts.waits(container.store, of, record.version, at=now):
        return False
    with container.store.begin() as tx:
        tried = attempts.note(tx, of, record.version, at=now, error="")
    if tried.dead:
        _record(
            container, record, [_failed(f"its process ended {tried.attempts - 1} times without a verdict")]
        )
    return not tried.dead


def _failed(why: str) -> gates.Verdict:
    """The verdict on a candidate that cannot be loaded, or that fails on the rows it is to be judged on."""
    reason = f"judging it failed: {why}"
    return gates.Verdict(gate="can be judged", passed=False, value=None, threshold=None, reason=reason)


def _evidence(
    container: Container,
    model: Model,
    features: FeatureSet,
    candidate: package.Package,
    rows: Split,
    measured: Mapping[str, float],
    champion: Champion,
) -> gates.GateEvidence:
    held = rows.holdout
    clock, request = container.clock, model.task.request
    single = [held.requests[i : i + 1] for i in range(min(_SAMPLES, held.requests.height))]

    def predict_one(row: pl.DataFrame) -> Any:
        times = row[request.time].to_list() if request.time else [clock.now()]
        found = features.online(row.select(features.request_columns), times, container.online)
        return candidate.predict(found.X)

    return gates.GateEvidence(
        y=held.y,
        p=candidate.predict(held.X),
        p_champion=champion.scores,
        no_champion=champion.why_not,
        p_baseline=constant(model.task, rows.train.y),
        slices=held.requests,
        predict_one=predict_one,
        samples=single,
        monotonic=clock.monotonic,
        measures=measures(model.task, measured),
        together=together(model.task, held.requests),
        p_no_change=persistent(model.task, rows) if model.compares_with("no_change") else None,
    )


def champion_answers(container: Container, model: Model, features: FeatureSet, rows: Split) -> Champion:
    """The champion's scores on the rows held out, with the features it was trained on.

    One that cannot be asked is no fault of the candidate's, which may well be what takes its place.
    """
    try:
        scores = _champion_scores(container, model, features, rows)
    except (StoreUnavailable, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a model that is broken raises
        _log.warning("the champion of %s cannot be asked", model.name, exc_info=error)
        return Champion(None, f"the champion cannot be asked: {type(error).__name__}: {error}")
    return Champion(scores, "" if scores is not None else "no champion yet")


def _champion_scores(container: Container, model: Model, features: FeatureSet, rows: Split) -> Any | None:
    record = champion_version(container.store, model.name)
    run = container.store.get(Run, record.run) if record else None
    if record is None or run is None:
        return None
    theirs = declared(container, run.code).models[model.name]
    with importing(checkout(container.blobs, run.code, container.settings.home)):
        champion = container.package(record, theirs.trusted)
    if [online_key(view) for view in theirs.features] == [online_key(view) for view in model.features]:
        return champion.predict(rows.holdout.X)
    own = feature_set(container, theirs)
    return champion.predict(own.offline(rows.holdout.requests, rows.sources))


def _record(container: Container, record: ModelVersion, verdicts: list[gates.Verdict]) -> ModelVersion:
    failed = [verdict for verdict in verdicts if not verdict.passed]
    now = container.clock.now()
    with container.store.begin() as tx:
        current = tx.lock(ModelVersion, record.model, record.version)
        if current is None or current.stage != "candidate":
            return current or record
        judged = msgspec.structs.replace(
            current,
            stage="rejected" if failed else "accepted",
            stage_reason="; ".join(f"{v.gate}: {v.reason}" for v in failed)
            or f"passed {len(verdicts)} gate{'s' if len(verdicts) != 1 else ''}",
        )
        tx.put(judged)
        for verdict in verdicts:
            built = msgspec.to_builtins(verdict)
            tx.put(GateResult(model=record.model, version=record.version, at=now, **built))
        tx.append(
            Event(
                kind=f"model.{judged.stage}",
                subject=str(Ref("model", record.model).at(record.version)),
                at=now,
                body={
                    "reason": judged.stage_reason,
                    "gates": {v.gate: v.passed for v in verdicts},
                    "tags": record.tags,
                },
            )
        )
    return judged
