"""What the test of a canary is shown: how the champion usually did, then each new request and label once."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.answers import coded, loss_of, predictions
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.looks import OUTCOME, Source, look, start
from homeostat.app.outcomes import log_of
from homeostat.app.reading import read
from homeostat.domain.contracts import SEQ
from homeostat.domain.declarations import Canary, Model
from homeostat.domain.durations import parse_duration
from homeostat.domain.ids import new_id
from homeostat.domain.records import Dataset, ModelVersion, Rollout, Run
from homeostat.engine.control.canary import Baseline, CanaryTest
from homeostat.engine.control.observations import baseline, observe, observe_labels
from homeostat.engine.serving.predictions import PROBABILITIES

_USUAL: Final = 20_000
_TIMED: Final = ("arm", "status", "latency_us", "scoring_us")
_LOOKED_AT: Final = (
    *("arm", "version", "score", "shadow_score", "error", "status", "latency_us", "scoring_us"),
    *(PROBABILITIES, f"shadow_{PROBABILITIES}"),
)


def prepared(container: Container, record: ModelVersion, canary: Canary, champion: int, run: Run) -> Rollout:
    """A canary that is about to begin: its test knows how the champion did until now."""
    model = find_model(container, record.model, run.code)
    log = container.store.get(Dataset, log_of(record.model))
    usual = _usual(container, model, champion) if log else None
    served = container.store.get(ModelVersion, record.model, champion)
    loss = loss_of(model.task, served.metrics if served else record.metrics)
    statistics = CanaryTest(canary, usual, loss=loss).statistics(0, 0)
    return Rollout(
        id=new_id(container.clock.wall()),
        deployment=record.model,
        candidate=record.version,
        champion=champion,
        state="running",
        share=canary.share,
        began_at=container.clock.now(),
        statistics=statistics | start(container, record.model, _source(model)),
        tags=record.tags,
    )


def shown(container: Container, model: Model, rollout: Rollout, test: CanaryTest) -> Rollout:
    """Show the test each new request and each new label once, in the order they came."""
    seen, arm, version = rollout.statistics, pl.col("arm"), pl.col("version")
    # A request for the candidate by its number has no champion beside it.
    mine = (arm == "canary") & (version == rollout.candidate)
    found = look(
        container,
        rollout.deployment,
        _source(model),
        seen,
        _LOOKED_AT,
        judged=mine,
        fresh=mine | (arm == "champion") & (version == rollout.champion),
    )
    asked = observe(test, found.fresh) if found.fresh.height else 0
    labelled = 0
    if found.outcomes.height:
        labelled = observe_labels(test, found.outcomes, OUTCOME, partial(predictions, model.task))
    return msgspec.structs.replace(
        rollout,
        requests=rollout.requests + asked,
        labelled=rollout.labelled + labelled,
        statistics=seen | found.seen,
    )


def told(statistics: dict[str, Any]) -> dict[str, Any]:
    """What a test found, for people: by what was watched, its evidence, without what it goes on from."""
    watched = statistics.get("watched", {})
    return {name: {k: v for k, v in one.items() if k != "state"} for name, one in watched.items()}


def _usual(container: Container, model: Model, champion: int) -> Baseline:
    """How the champion did on the last requests before the canary."""
    p99 = parse_duration(model.slo.p99).total_seconds() if model.slo and model.slo.p99 else None
    log = read(container, log_of(model.name)).filter(pl.col("version") == champion)
    known = [name for name in (*_TIMED, SEQ) if name in log.collect_schema()]
    return baseline(log.select(known).top_k(_USUAL, by=SEQ).collect(), p99=p99)


def _source(model: Model) -> Source:
    return Source(model.task.source.name, coded(model.task), model.task.request.keys)
