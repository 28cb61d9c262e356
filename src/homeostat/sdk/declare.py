"""The words of a project file, over the declarations of the domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from homeostat.domain.declarations import (
    AllOf,
    AnyOf,
    ApprovalPolicy,
    Beats,
    Calibrated,
    CodeChange,
    ConceptDrift,
    ContractChange,
    Dataset,
    Drift,
    DriftTest,
    Entity,
    Every,
    FeatureView,
    Message,
    Model,
    NewLabels,
    OnRequest,
    Rule,
    Schedule,
    SignaturePolicy,
    SingleRowLatency,
    SloBurn,
    UpstreamModel,
    When,
    Windows,
    WorstSlice,
)
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError
from homeostat.domain.metrics import METRICS, Metric

Transform = Callable[[Any], Any]


def feature_view(
    *, entity: Entity, source: Dataset, ttl: str | None = None, age: bool = False
) -> Callable[[Transform], FeatureView]:
    """Declare a feature view by its function: the latest row of an entity.

    Args:
        entity: What the features are about.
        source: The dataset they come from.
        ttl: How long a row counts, as ``"3h"``; None: for ever.
        age: Also give the hours since the row, as ``view__age_hours``.

    The function takes a ``polars.LazyFrame`` of the source and gives one with the feature columns, row by row.
    """

    def declare(function: Transform) -> FeatureView:
        return FeatureView(
            function.__name__, entity=entity, source=source, ttl=ttl, transform=function, age=age
        )

    return declare


def on_request(function: Transform) -> OnRequest:
    """Declare features of the request alone, from a ``polars.LazyFrame`` of requests, row by row."""
    return OnRequest(function.__name__, transform=function)


def windows(
    name: str,
    *,
    entity: Entity,
    source: Dataset,
    over: Sequence[str],
    mean: str | None = None,
    sum: str | None = None,
    count: bool = False,
    tile: str | None = None,
) -> Windows:
    """Declare aggregates over the time before a prediction.

    Args:
        name: The view's name; columns are ``name__mean_7d`` and so on.
        entity: Over whose rows.
        source: The dataset, which needs a time column.
        over: The windows, as ``["1d", "7d"]``.
        mean: The column whose mean is wanted (nulls do not count; null when there is no row).
        sum: The column whose sum is wanted; the same as ``mean`` when both are.
        count: Also the number of rows that counted.
        tile: The grain at which a window starts; by default the source's ``every``.
    """
    if mean and sum and mean != sum:
        raise DeclarationError(
            f"aggregates two columns, {mean!r} and {sum!r}", remedy="Declare one view each", declaration=name
        )
    wanted: list[Literal["mean", "sum", "count"]] = []
    wanted += ["mean"] if mean else []
    wanted += ["sum"] if sum else []
    wanted += ["count"] if count else []
    return Windows(
        name,
        entity=entity,
        source=source,
        column=mean or sum,
        aggregates=tuple(wanted),
        over=tuple(over),
        tile=tile,
    )


def metric(*, better: Literal["higher", "lower"]) -> Callable[[Callable[[Any, Any], float | None]], Metric]:
    """Declare a metric by its function of labels and predictions, for ``metrics=`` of a task.

    Args:
        better: Which way is better.

    The function takes two arrays: labels of shape ``(n,)`` (0 and 1; places of classes; numbers), and scores,
    probabilities of shape ``(n, classes)``, or numbers. It gives a number, or None where there is none.
    """

    def declare(function: Callable[[Any, Any], float | None]) -> Metric:
        return Metric(getattr(function, "__name__", ""), better, function)

    return declare


def _named(metric: str | Metric) -> str:
    if isinstance(metric, Metric):
        return metric.name
    if metric not in METRICS:
        raise DeclarationError(f"{metric!r} is no metric", remedy=f"Use one of {', '.join(METRICS)}")
    return metric


def beats(
    reference: Literal["champion", "baseline", "no_change"], metric: str | Metric, *, margin: float = 0.0
) -> Beats:
    """Gate: better than the champion, or than what knows no features, on the newest labelled rows.

    The baseline answers with what the training labels say by themselves: their rate, the shares of the classes, their
    mean or quantile. ``no_change`` answers that each label is as the one before, as often as that was so in training.
    """
    name = _named(metric)
    if reference not in ("champion", "baseline", "no_change"):
        raise DeclarationError(
            f"cannot compare with {reference!r}", remedy='Use "champion", "baseline" or "no_change"'
        )
    return Beats(reference, name, margin)


def worst_slice(
    column: str,
    metric: str | Metric,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    min_rows: int = 100,
) -> WorstSlice:
    """Gate: a bound on ``metric`` that every slice of ``column`` with ``min_rows`` rows holds."""
    name = _named(metric)
    if (at_least is None) == (at_most is None):
        raise DeclarationError(
            f"worst_slice({column!r}, {name!r}) needs one bound", remedy="Give at_least= or at_most="
        )
    return WorstSlice(column, name, at_least, at_most, min_rows)


def calibrated(*, within: float) -> Calibrated:
    """Gate: expected calibration error (ten bins of equal count) at most ``within``."""
    return Calibrated(within)


def single_row_latency(quantile: str, *, at_most: str) -> SingleRowLatency:
    """Gate: ``single_row_latency("p99", at_most="20ms")``, measured on one row at a time."""
    if not quantile.startswith("p") or not quantile[1:].isdigit():
        raise DeclarationError(f"{quantile!r} is no quantile", remedy='Write it like "p99"')
    return SingleRowLatency(
        int(quantile[1:]) / 10 ** len(quantile[1:]), parse_duration(at_most).total_seconds()
    )


def approval(*, by: int = 1, requester: bool = True) -> ApprovalPolicy:
    """Approval: so many people agree to a version before it is rolled out, with ``homeostat approve``.

    Args:
        by: How many different people.
        requester: Whether whoever asked for the training may be one of them.
    """
    return ApprovalPolicy(by=by, requester=requester)


def signed_by(keys: Mapping[str, str], *, at_least: int = 1) -> SignaturePolicy:
    """Signatures: keys that must have signed a version, with ``homeostat models sign``, before it serves.

    Args:
        keys: Fingerprints by the names that you give the keys, as ``{"release": "sha256:…"}``.
        at_least: How many of them.
    """
    return SignaturePolicy(keys=dict(keys), by=at_least)


def drift(
    *,
    false_alarm: float = 0.05,
    floor: float | None = None,
    season: str | Sequence[str] = (),
    of: str | Sequence[str] = (),
    window: str = "7d",
    joint: bool = False,
    threshold: float | None = None,
    features: int = 1,
) -> Drift | DriftTest:
    """Rule: features drifted away from the training data.

    By a test that looks at each row once and keeps its promise over all looks and features: without drift, it
    reports any within a year with a probability of at most ``false_alarm``. A feature whose training rows are too few
    for that is not watched, and each evaluation says how many it takes.

    Args:
        false_alarm: The probability of any false report within a year.
        floor: Standard deviations that a feature may move for nothing, such as 0.05; by default as fine as the
            training rows allow, from 0.02 (about 70,000 rows) to 0.1 (about 4,000).
        season: ``"hour"``, ``"weekday"`` or both, in UTC: rows are compared with training rows of the same.
        of: What counts: features, as ``"weather_at_origin__temp"``, vectors, as ``"meaning"`` or
            ``"asked__meaning"``, feature views by name, ``"score"``, the model's answers, and ``"label"``, the labels
            that have come; by default all features and the answers.
        window: Over which time effect sizes are shown, and ``threshold`` holds; with ``joint``, from how far back a
            classifier learns; with ``"label"``, how long after its request a label still counts.
        joint: Whether the features are compared together instead of each by itself: a classifier learns to tell live
            rows from training rows. It finds what moves only together, and embeddings, whose view ``of`` names.
        threshold: Instead of the test: the population stability index over ``window``, beyond what chance explains,
            past which a feature has drifted. Seasonal features always differ from another season's: leave them out
            where that is no news. This makes no promise of false reports.
        features: With ``threshold``: how many must have drifted.
    """
    among = (of,) if isinstance(of, str) else tuple(of)
    if threshold is not None:
        return Drift(threshold, features, window, among)
    within = (season,) if isinstance(season, str) else tuple(season)
    return DriftTest(false_alarm, floor, within, among, window, joint)


def slo_burn(metric: str) -> SloBurn:
    """Rule: the declared service level of ``metric`` does not hold."""
    return SloBurn(metric)


def concept_drift(*, false_alarm: float = 0.05) -> ConceptDrift:
    """Rule: the losses of the model's answers rose: what it learned holds no more.

    By a test that looks at each labelled answer once, needs no threshold, and estimates since when. The training that
    follows makes two candidates, from all rows and from those since then, and keeps the better one on the newest
    labels. From its tenth look on, of which those at the rows held out in training are the first.

    Args:
        false_alarm: The probability of any false report within a year, as long as losses do not rise.
    """
    return ConceptDrift(false_alarm)


def new_labels(rows: int = 0, *, growth: float | None = None) -> NewLabels:
    """Rule: so many labelled rows that no training has seen.

    Args:
        rows: How many.
        growth: Instead, as many as make a training worth it: 1.0 takes 1,000 where there were 1,000 at the last
            training, and the square root of 1,000 n where there were n; after a change that ``hs.concept_drift`` found,
            rows since then are counted. So it trains again soon after a change, and ever more rarely as data accrue.
    """
    return NewLabels(rows, growth)


def every(period: str) -> Every:
    """Rule: so long since the last training."""
    return Every(period)


def schedule(cron: str, *, timezone: str = "UTC") -> Schedule:
    """Rule: an occasion of a cron expression came since the last training.

    Occasions that were missed, since nothing ran or training was held, are made up for by one training, which says so.

    Args:
        cron: Minute, hour, day of month, month and weekday, as ``"0 3 * * mon"``.
        timezone: Whose clock, as ``"Europe/Berlin"``.
    """
    return Schedule(cron, timezone)


def contract_change(*of: Dataset | str) -> ContractChange:
    """Rule: the contract of a dataset was changed since the last training.

    Args:
        of: Which datasets; by default all that the model reads.
    """
    return ContractChange(tuple(one.name if isinstance(one, Dataset) else one for one in of))


def code_change() -> CodeChange:
    """Rule: the training function, what it uses of the project, or a feature view was changed since the last training.

    Comments and layout do not count, and libraries are not followed.
    """
    return CodeChange()


def upstream_model(model: Model | str) -> UpstreamModel:
    """Rule: another model of the project has another champion than when the last training began."""
    return UpstreamModel(model if isinstance(model, str) else model.name)


def message(type: str, *, source: str = "") -> Message:
    """Rule: a CloudEvent of this type came since the last training, by ``POST /events``; each counts once.

    Args:
        type: Its ``type``, as ``"com.example.prices.published"``.
        source: Its ``source``; by default any.
    """
    return Message(type, source)


def all_of(*rules: Rule) -> AllOf:
    """Rule: every one of these fires at the same look, as ``hs.all_of(hs.drift(), hs.new_labels(5_000))``."""
    return AllOf(_several("all_of", rules))


def any_of(*rules: Rule) -> AnyOf:
    """Rule: one of these fires; for use within ``hs.all_of``, since ``hs.when`` takes any of its rules by itself."""
    return AnyOf(_several("any_of", rules))


def _several(name: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    if not rules:
        raise DeclarationError(
            f"hs.{name}() combines nothing", remedy=f"Give it rules, as hs.{name}(hs.drift(), hs.every('7d'))"
        )
    return rules


def when(
    *rules: Rule,
    cooldown: str = "1d",
    check_every: str = "1d",
    at_most: tuple[int, str] | None = None,
    budget: tuple[str, str] | None = None,
    debounce: str | None = None,
) -> When:
    """Retrain when any rule fires.

    Args:
        rules: The rules; ``hs.all_of`` and ``hs.any_of`` combine them.
        cooldown: Not so soon after the last training.
        check_every: How often the rules are evaluated.
        at_most: The budget, as ``(4, "30d")``: so many trainings within such a time, whatever fires.
        budget: Of money, as ``("20 EUR", "30d")``: what trainings may cost within such a time, by the price of a
            processor's hour (``cpu_price``) or, without one, of the energy that they used (``energy_price``).
        debounce: What fires must go on firing for so long, as ``"10m"``, and no further message come meanwhile.
    """
    return When(rules, cooldown, check_every, at_most, budget, debounce)
