"""What came in a span of time, beside what training saw: every feature, the answers, and the labels known by now.

Whatever the prediction log holds can be reported, long after: the rows are read anew, and so a report needs no rule.
What monitors found in the span is told as they found it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from homeostat.app.code import find_model
from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.quality import assess_rows, with_labels
from homeostat.app.reading import declared_columns, find_dataset
from homeostat.app.registry.pointers import champion_of
from homeostat.app.reporting.foreign import named
from homeostat.app.traffic import Traffic
from homeostat.domain.declarations import Model
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.incidents import Moment, moments
from homeostat.domain.records import Alert, Dataset, ModelVersion, Window
from homeostat.engine.monitoring.drift import FeatureDrift, drift
from homeostat.engine.monitoring.quality import Quality
from homeostat.engine.monitoring.reference import LABEL, SCORE, Numbers, Reference, labels, profile
from homeostat.engine.monitoring.summary import Summary
from homeostat.engine.registry.package import REFERENCE


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One feature's values on one side.

    Args:
        rows: How many, those without a value included.
        missing: The share without a value.
        distinct: About how many there are; None where it is not known.
        mean: Of numbers, as the three below; None of texts, or where it is not known.
        deviation: Their standard deviation.
        low: The least.
        high: The greatest.
        shares: Of the rows, in each bin.
    """

    rows: int
    missing: float
    distinct: int | None = None
    mean: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    shares: list[float]


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """A feature beside its reference: ``bins`` name what each share is of; ``sizes`` how far apart they are."""

    name: str
    bins: list[str]
    before: Side
    now: Side
    sizes: FeatureDrift


class Look(msgspec.Struct, frozen=True):
    """One evaluation of a monitor."""

    at: datetime
    value: float | None
    threshold: float | None
    breached: bool


class WindowReport(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time of one deployment.

    Args:
        model: Whose.
        start: Where the span begins.
        end: And ends.
        rows: Requests in it that were looked at.
        failed: Those without an answer.
        labelled: Those whose label is known by now.
        versions: Answers by version.
        against: What is compared with.
        training_rows: How many rows that is of.
        features: The most drifted first.
        monitors: What monitors found, by name.
        quality: How good the answers were, by the labels known by now.
        alerts: What was open at some time of the span.
        times: By alert, from its onset to when it was healed, those that are known.
        absent: Features that the reference has and no request had; of another tool's, not the columns of the model's
            datasets that are no features, as keys and labels are.
        one_in: How many of the requests in the span each of those that were looked at stands for.
    """

    model: str
    start: datetime
    end: datetime
    rows: int
    failed: int
    labelled: int
    versions: dict[str, int]
    against: str
    training_rows: int
    features: list[Feature]
    quality: Quality
    monitors: dict[str, list[Look]]
    alerts: list[Alert]
    times: dict[str, list[Moment]]
    absent: list[str]
    one_in: int = 1


def report(
    container: Container,
    model: str,
    start: datetime,
    end: datetime,
    *,
    version: int | None = None,
    against: tuple[str, Reference] | None = None,
) -> WindowReport:
    """Compare what was asked in a span of time with what training saw.

    Args:
        container: The ports.
        model: Its name.
        start: Requests after it.
        end: And up to it.
        version: Whose training data; None: the champion's.
        against: Another reference and its name.

    Raises:
        NotFound: there is no such model or version, or it was never asked in that time.
        BadRequest: the reference has none of the model's features.
    """
    declared = find_model(container, model)
    name, known = against or _reference(container, model, version)
    if container.store.get(Dataset, log_of(model)) is None:
        raise NotFound(f"model/{model} was never asked", remedy="Serve it first: homeostat up")
    requests = with_labels(
        container, declared, Traffic(container, model, pl.col("at") > start, pl.col("at") <= end)
    )
    log, (came, one_in) = requests.log, requests.asked
    if not log.height:
        raise NotFound(
            f"model/{model} was not asked from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
            remedy="Choose another time: --from and --to",
        )
    if against is not None:
        known = named(known, log.columns)
    apart = {LABEL, SCORE} | (set() if against is None else _columns(container, declared))
    labelled = came.filter(pl.col(declared.task.label).is_not_null())
    frame = log.select(one for one in known.features if one in log.columns and one != LABEL)
    features = _features(known, frame)
    if labelled.height and LABEL in known.features:
        truth = labelled.select(pl.col(declared.task.label).cast(pl.Float64).alias(LABEL))
        features += _features(known, truth)
    if not features:
        raise BadRequest(
            f"{name} has no feature of model/{model}",
            remedy=f"Compare with one that has some of: {', '.join(one for one in log.columns if '__' in one)}",
        )
    monitors: dict[str, list[Look]] = {}
    within: Sequence[Any] = (("deployment", "=", model), ("end", ">", start), ("end", "<=", end))
    for one in container.store.find(Window, *within, order=["end"]):
        monitors.setdefault(one.monitor, []).append(Look(one.end, one.value, one.threshold, one.breached))
    about: Sequence[Any] = (("subject", "=", f"deployment/{model}"), ("opened_at", "<=", end))
    alerts = [
        one
        for one in container.store.find(Alert, *about, order=["opened_at"])
        if one.resolved_at is None or one.resolved_at > start
    ]
    return WindowReport(
        model=model,
        start=start,
        end=end,
        rows=log.height,
        one_in=one_in,
        failed=log["score"].null_count(),
        labelled=labelled.height,
        versions={str(of): rows for of, rows in sorted(log["version"].value_counts().iter_rows())},
        against=name,
        training_rows=known.rows,
        features=sorted(features, key=lambda one: (-one.sizes.excess, -one.sizes.psi, one.name)),
        quality=assess_rows(container, declared, requests, container.clock.now()),
        monitors=monitors,
        alerts=alerts,
        times={one.id: moments(one) for one in alerts},
        absent=[one for one in known.features if one not in log.columns and one not in apart],
    )


def _columns(container: Container, model: Model) -> set[str]:
    """The columns that rows of the model's requests and of its labels have."""
    found = {
        name: find_dataset(container, name) for name in (model.task.request.name, model.task.source.name)
    }
    return {column.name for record in found.values() for column in declared_columns(record) or ()}


def _reference(container: Container, model: str, version: int | None) -> tuple[str, Reference]:
    if version is None:
        alias = champion_of(container.store, model)
        if alias is None:
            raise NotFound(f"model/{model} has no champion", remedy="Name a version: model@1")
        version = alias.version
    record = container.store.get(ModelVersion, model, version)
    if record is None or REFERENCE not in record.manifest["files"]:
        raise NotFound(f"there is no model/{model}@{version} of the loop", remedy="homeostat models ls")
    built = msgspec.json.decode(container.blobs.get(record.manifest["files"][REFERENCE]))
    return f"the training data of model/{model}@{version}", Reference.read(built)


def _features(known: Reference, rows: pl.DataFrame) -> list[Feature]:
    seen = profile(known, rows)
    found = []
    for sizes in drift(known, seen):
        bins = known.features[sizes.feature]
        summaries = (known.summaries.get(sizes.feature), seen.summaries[sizes.feature])
        numeric = isinstance(bins, Numbers)
        before, now = (
            _side(counts, summary, numeric=numeric)
            for counts, summary in zip((bins.counts, seen.counts[sizes.feature]), summaries, strict=True)
        )
        found.append(Feature(name=sizes.feature, bins=labels(bins), before=before, now=now, sizes=sizes))
    return found


def _side(counts: list[int], summary: Summary | None, *, numeric: bool) -> Side:
    rows = sum(counts)
    moments = summary.moments if summary is not None and numeric else None
    shares = [round(count / rows, 6) for count in counts]
    distinct = round(summary.distinct) if summary is not None and any(summary.registers) else None
    if moments is None:
        return Side(rows=rows, missing=shares[0], distinct=distinct, shares=shares)
    return Side(
        rows=rows,
        missing=shares[0],
        distinct=distinct,
        mean=moments.mean,
        deviation=moments.variance**0.5,
        low=moments.low,
        high=moments.high,
        shares=shares,
    )
