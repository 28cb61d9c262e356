"""Shadows: versions that score live requests for comparison and answer nobody; and how far they agree."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import polars as pl

from homeostat.app.answers import Array, losses, predictions, together, unit_of
from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.deployments import set_arms
from homeostat.app.outcomes import log_of
from homeostat.app.quality import join_labels
from homeostat.app.traffic import Traffic
from homeostat.app.workers import sync_workers
from homeostat.domain.declarations import Model
from homeostat.domain.errors import BadRequest, Conflict, NotFound
from homeostat.domain.records import Arm, Dataset, Deployment, ModelVersion


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How a shadow's scores stand to those that were answered, over the requests it was shown.

    Args:
        shown: Requests that were to be scored by it too.
        failed: Of these, where it raised.
        missing: Of these, those it was too slow for.
        difference: Of its score from the answered one, on ``compared`` requests: mean, and of its size the mean, the
            50th, 95th and 99th percentile and the largest.
        correlation: Of both scores; None where one of them is always the same.
        same_side: The share of requests that both put on the same side of 0.5.
        labelled: Requests whose labels have come.
        log_loss: By ``shadow`` and ``answered``, the mean of ``loss`` on the labelled ones: of log loss in nats; of a
            regression in variances of the answering version's training labels, of a quantile in their deviations.
        loss: Which loss that is.
        one_in: How many requests each of those that were looked at stands for; counts are of those that were.
    """

    deployment: str
    version: int
    shown: int
    compared: int
    failed: int
    missing: int
    difference: dict[str, float]
    correlation: float | None
    same_side: float | None
    labelled: int
    log_loss: dict[str, float]
    errors: list[str]
    loss: str = "log_loss"
    one_in: int = 1


def start_shadow(
    container: Container, deployment: str, version: int, *, share: float, actor: str, reason: str
) -> Deployment:
    """Show a version a share of the requests that the champion and variants answer.

    Raises:
        NotFound: there is no such deployment or version.
        Conflict: the version answers there, or has no package, or nothing answers yet.
        BadRequest: the share is none, or more than other shadows leave.
    """
    with container.store.begin() as tx:
        found = tx.lock(Deployment, deployment)
        record = tx.get(ModelVersion, found.model, version) if found else None
        if found is None or record is None:
            what = f"model/{deployment}@{version}" if found else f"deployment/{deployment}"
            raise NotFound(f"there is no {what}", remedy="homeostat status lists them")
        answering, others = _parted(found, version)
        if not answering or any(arm.version == version for arm in answering) or not record.manifest:
            raise Conflict(
                f"model/{deployment}@{version} cannot be a shadow: "
                f"{'it has no package' if not record.manifest else 'it answers' if answering else 'nothing answers'}",
                remedy="Name a trained version beside the one that serves",
            )
        left = 1 - sum(arm.weight for arm in others)
        if not 0 < share <= left + 1e-9:
            raise BadRequest(
                f"the share of a shadow is {share}, {left:g} is left",
                field="share",
                remedy="Give less, as 0.1",
            )
        shadows = [*others, Arm(version, share, "shadow")]
        changed = set_arms(tx, container, deployment, answering, actor=actor, reason=reason, shadows=shadows)
    sync_workers(container)
    return changed


def stop_shadow(
    container: Container, deployment: str, version: int = 0, *, actor: str, reason: str
) -> Deployment:
    """Take a shadow out; without a version, every one.

    Raises:
        NotFound: there is no such deployment.
        Conflict: there is no such shadow.
    """
    with container.store.begin() as tx:
        found = tx.lock(Deployment, deployment)
        if found is None:
            raise NotFound(f"there is no deployment/{deployment}", remedy="homeostat status lists them")
        answering, others = _parted(found, version)
        if len(answering) + len(others) == len(found.arms):
            raise Conflict(
                f"deployment/{deployment} has no shadow{f' @{version}' if version else ''}",
                remedy="homeostat status shows the arms",
            )
        changed = set_arms(tx, container, deployment, answering, actor=actor, reason=reason, shadows=others)
    sync_workers(container)
    return changed


def _parted(deployment: Deployment, version: int) -> tuple[list[Arm], list[Arm]]:
    """The arms that answer, and the shadows but for ``version`` (0: all of them)."""
    answering = [arm for arm in deployment.arms if arm.role != "shadow"]
    others = [arm for arm in deployment.arms if arm.role == "shadow" and version not in (0, arm.version)]
    return answering, others


def agreement(container: Container, deployment: str, version: int = 0) -> Agreement:
    """How far a shadow agrees with what was answered: the one that runs, or any that has run.

    Raises:
        NotFound: there is no such deployment, or nothing was shown to the shadow.
    """
    found = container.store.get(Deployment, deployment)
    if found is None:
        raise NotFound(f"there is no deployment/{deployment}", remedy="homeostat status lists them")
    running = [arm.version for arm in found.arms if arm.role == "shadow"]
    version = version or (running[-1] if running else 0)
    sync_workers(container)
    if not version or container.store.get(Dataset, log_of(deployment)) is None:
        raise NotFound(
            f"deployment/{deployment} has no shadow",
            remedy=f"homeostat shadow start {deployment}@VERSION --share 0.1",
        )
    # The champion scores what canaries answer: that is a canary's comparison, not a shadow's.
    shown = pl.col("shadow_version") == version, pl.col("arm").is_in(["champion", "variant"])
    model = _declared(container, found)
    task = model.task if model is not None else None
    log = Traffic(container, deployment, *shown, pl.col("error").is_null())
    rows, one_in = log.asked(unit=unit_of(task, log.columns))
    if not rows.height:
        raise NotFound(
            f"model/{deployment}@{version} was shown no request yet",
            remedy="Predictions reach the log within a second",
        )
    both = rows.filter(pl.col("score").is_not_null(), pl.col("shadow_score").is_not_null())
    failed = rows.filter(pl.col("shadow_error").is_not_null())
    numbers = _numbers(both["score"].to_numpy(), both["shadow_score"].to_numpy())
    return Agreement(
        deployment=deployment,
        version=version,
        shown=rows.height,
        compared=both.height,
        failed=failed.height,
        missing=rows.height - both.height - failed.height,
        errors=failed["shadow_error"].unique(maintain_order=True).head(3).to_list(),
        one_in=one_in,
        **numbers,
        **_on_labels(container, model, both),
    )


def _numbers(answered: Any, shadow: Any) -> dict[str, Any]:
    if not len(answered):
        return {"difference": {}, "correlation": None, "same_side": None}
    difference = shadow - answered
    sizes = np.abs(difference)
    quantiles = np.quantile(sizes, (0.5, 0.95, 0.99, 1.0))
    varies = len(answered) > 1 and np.ptp(answered) > 0 and np.ptp(shadow) > 0
    return {
        "difference": {"mean": float(difference.mean()), "mean_size": float(sizes.mean())}
        | dict(zip(("p50", "p95", "p99", "largest"), map(float, quantiles), strict=True)),
        "correlation": float(np.corrcoef(answered, shadow)[0, 1]) if varies else None,
        "same_side": float(((answered > 0.5) == (shadow > 0.5)).mean()),
    }


def _declared(container: Container, deployment: Deployment) -> Model | None:
    try:
        return find_model(container, deployment.model)
    except NotFound:  # served without a declaration: nothing says where labels come from
        return None


def _on_labels(container: Container, model: Model | None, both: pl.DataFrame) -> dict[str, Any]:
    if model is None:
        return {"labelled": 0, "log_loss": {}}
    task = model.task
    known = join_labels(container, model, both).drop_nulls(model.task.label) if both.height else both
    if not known.height:
        return {"labelled": 0, "log_loss": {}, "loss": task.loss}
    y = known[task.label].to_numpy()
    served = container.store.get(ModelVersion, model.name, int(known["version"][-1]))
    groups = together(task, known)

    def mean(p: Array) -> float:
        return float(np.nanmean(losses(task, served.metrics if served else {}, y, p, groups)))

    found = {
        "shadow": mean(predictions(task, known, "shadow_")),
        "answered": mean(predictions(task, known)),
    }
    return {"labelled": known.height, "log_loss": found, "loss": task.loss}
