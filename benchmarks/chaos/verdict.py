"""What must hold after any faults: nothing lost, nothing doubled, the ledger whole, and what runs as declared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Final

import polars as pl

from benchmarks.chaos.play import CHANNEL, Play
from examples.flights.measure import LOG, MODEL
from examples.flights.replay import TIMES
from examples.flights.stage import Stage
from homeostat.app.apply import plan
from homeostat.app.outcomes import given, labels_of
from homeostat.app.projects import load_project
from homeostat.app.reading import read
from homeostat.app.replaying import replay
from homeostat.domain.records import Alert, Delivery, Deployment, ModelVersion, Quarantined, Rollout, Run
from tests.app.receiving import Receiver

KEYS: Final = {"flights": ["flight"], "landings": ["flight"], "weather": ["origin", "observed_at"]}
MOST_WIND: Final = 100  # as the contract says
_REPLAYED: Final = 25
_DECIDED: Final = timedelta(days=2)  # twice what the project says
_ENDS: Final = ("run.succeeded", "run.failed")


def wrong(stage: Stage, play: Play, receiver: Receiver, random: Random) -> list[str]:
    """What does not hold, as sentences; none when all does."""
    return [
        *_ledger(stage),
        *_data(stage, play),
        *_predictions(stage, play, random),
        *_labels(stage, play),
        *_trainings(stage, play),
        *_state(stage),
        *_alerts(stage, receiver),
    ]


def _ledger(stage: Stage) -> Iterator[str]:
    verdict = stage.client.verify()
    if not verdict.ok:
        yield f"the ledger does not verify: {verdict}"


def _data(stage: Stage, play: Play) -> Iterator[str]:
    """Every row that was delivered is there once, as it was delivered, or was set aside once."""
    for name in TIMES:
        sent = pl.concat(play.sent[name]).sort(KEYS[name])
        aside = sum(one.count for one in stage.container.store.find(Quarantined, ("dataset", "=", name)))
        broken = play.broken if name == "weather" else 0
        if name == "weather":  # the data's own: a storm of 1048 mph on 12 February
            broken += sent.filter(pl.col("wind_speed") > MOST_WIND).height
            sent = sent.remove(pl.col("wind_speed") > MOST_WIND)
        if aside != broken:
            yield f"dataset/{name} has {aside} rows set aside, {broken} broke their contract"
        kept = read(stage.container, name).select(sent.columns).collect().sort(KEYS[name])
        if kept.height != sent.height:
            yield f"dataset/{name} has {kept.height} rows, {sent.height} were delivered"
        elif not kept.equals(sent.cast(kept.schema)):  # type: ignore[arg-type] # a schema is a mapping
            yield f"dataset/{name} has other rows than those that were delivered"


def _predictions(stage: Stage, play: Play, random: Random) -> Iterator[str]:
    """Every answer is in the log once, and can be computed again from what was there then."""
    log = read(stage.container, LOG).filter(pl.col("error").is_null()).collect()["prediction_id"]
    kept, answered = set(log), play.answered.keys()
    if log.len() != len(kept):
        yield f"{log.len() - len(kept)} predictions are in the log more than once"
    if missing := answered - kept - play.at_risk:
        yield f"{len(missing)} predictions that were answered are not in the log"
    if len(kept - answered) > play.unknown:
        yield f"{len(kept - answered)} predictions are in the log that nobody asked for"
    for id in random.sample(sorted(kept & answered), min(_REPLAYED, len(kept & answered))):
        if not (again := replay(stage.container, id)).matches:
            yield f"prediction/{id}: {again.verdict}"


def _labels(stage: Stage, play: Play) -> Iterator[str]:
    every = read(stage.container, labels_of(MODEL)).select("prediction_id").collect()
    labels = given(stage.container, MODEL, every)["label"]
    kept = dict(zip(every["prediction_id"], labels, strict=True))
    if kept != play.labelled:
        yield f"{len(kept)} labels by id are kept, {len(play.labelled)} were given, or they are others"


def _trainings(stage: Stage, play: Play) -> Iterator[str]:
    """What was asked for was trained, once; a run ends once, and makes a version or none."""
    store = stage.container.store
    runs = store.find(Run, ("kind", "=", "train"))
    for reason in play.asked_for:
        tried = [run for run in runs if run.reason == reason]
        done = [run for run in tried if run.state == "succeeded"]
        if len(done) != 1:
            yield f"{reason!r} was trained {len(done)} times, tried {len(tried)} times"
    for run in runs:
        ends = [
            one
            for one in stage.container.ledger.find(subject=f"run/{run.id}", limit=100)
            if one.kind in _ENDS
        ]
        if len(ends) != 1:
            yield f"run/{run.id} is {run.state} and ended {len(ends)} times"
    made = Counter(version.run for version in store.find(ModelVersion, ("model", "=", MODEL)))
    for run in runs:
        if made[run.id] != (run.state == "succeeded"):
            yield f"run/{run.id} is {run.state} and made {made[run.id]} versions"


def _state(stage: Stage) -> Iterator[str]:
    """What runs is what is declared, and serves the champion."""
    container = stage.container
    if changes := [one.ref for one in plan(container, load_project(stage.project)) if one.action != "keep"]:
        yield f"what is declared is not what is: {', '.join(changes)}"
    status = stage.client.status()
    roles = Counter(one["role"] for one in status["processes"])
    if roles != {"control": 1, "worker": container.settings.workers}:
        yield f"these processes hold leases: {dict(roles)}"
    for one in status["processes"]:
        if not one["alive"] or one.get("errors"):
            yield f"{one['subject']} is not well: {one}"
    rollouts = container.store.find(Rollout, ("state", "=", "running"))
    champions = container.store.find(ModelVersion, ("model", "=", MODEL), ("stage", "=", "champion"))
    deployment = container.store.get(Deployment, MODEL)
    arms = {one.version: one.weight for one in deployment.arms} if deployment else {}
    share = sum(one.share for one in rollouts)
    meant = {one.version: 1 - share for one in champions} | {one.candidate: one.share for one in rollouts}
    if len(champions) != 1 or len(rollouts) > 1 or arms != meant:
        yield f"arms are {arms}, champions {[one.version for one in champions]}, {len(rollouts)} rollouts run"
    if late := [one.id for one in rollouts if container.clock.now() - one.began_at > _DECIDED]:
        yield f"rollout/{late[0]} is still not decided"


def _alerts(stage: Stage, receiver: Receiver) -> Iterator[str]:
    """The channel heard of every page, also of those while it was away, and whatever came again had the same id."""
    store = stage.container.store
    waiting = store.count(Delivery, ("state", "=", "waiting"))
    if waiting:
        yield f"the channel is still to be told of {waiting} transitions"
    heard = {
        (one["event"], one["alert"]["id"]) for post in receiver.posts for one in post.event["data"]["told"]
    }
    due = {(one.event, one.alert) for one in store.find(Delivery)}
    if heard != due:
        yield f"the channel heard of {len(heard)} transitions, {len(due)} were to be told"
    pages = store.find(Alert, ("severity", "=", "page"), ("subject", "!=", CHANNEL))
    told = {alert for _, alert in heard}
    if silent := [one.key for one in pages if one.id not in told]:
        yield f"the channel never heard of {', '.join(silent)}"
    parts = {
        (post.event["id"], tuple(one["event"] for one in post.event["data"]["told"]))
        for post in receiver.posts
    }
    if len({id for id, _ in parts}) != len(parts):
        yield "a message came twice under one id, and told of other things"
