"""What Prometheus would scrape, sent to a collector of OpenTelemetry as metrics of OTLP in JSON.

A counter is a monotonic sum since the process began, a histogram too, anything else a gauge: as "Prometheus and
OpenMetrics Compatibility" of the OpenTelemetry specification has it
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/). Names stay as Prometheus has them,
so that the same queries find them behind either.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec

from homeostat.app.tracing.served import post
from homeostat.domain.release import VERSION
from homeostat.engine.serving.tracing import described, origin

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

PAUSE: Final = 15.0
"""Seconds from one word to the next: as often as Prometheus is commonly told to scrape."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CUMULATIVE: Final = 2
_UNITS: Final = {"_seconds": "s", "_bytes": "By", "_ratio": "1"}

_log = logging.getLogger(__name__)


def tell(collector: str, families: Iterable[Metric], began: datetime, now: datetime) -> None:
    """Send metrics; a collector that does not take them is told the next time, and the log says so.

    Args:
        collector: Its URL, without the path.
        families: What Prometheus would scrape.
        began: When the process did.
        now: In real time.
    """
    import httpx

    try:
        post(collector, "metrics", written(families, began, now))
    except httpx.HTTPError as error:
        _log.warning("the collector %s was not told metrics: %s", collector, error)


def written(families: Iterable[Metric], began: datetime, now: datetime) -> bytes:
    """Families of metrics as one request of OTLP."""
    times = {"startTimeUnixNano": _nanos(began), "timeUnixNano": _nanos(now)}
    scope = {"scope": {"name": "homeostat", "version": VERSION}, "metrics": list(_metrics(families, times))}
    return msgspec.json.encode({"resourceMetrics": [{"resource": origin(), "scopeMetrics": [scope]}]})


def _metrics(families: Iterable[Metric], times: dict[str, str]) -> Iterator[dict[str, Any]]:
    for family in families:
        told: dict[str, Any] = {"name": family.name, "description": family.documentation}
        told["unit"] = next((unit for end, unit in _UNITS.items() if family.name.endswith(end)), "")
        if family.type == "histogram":
            points = list(_histograms(family.samples, times))
            told["histogram"] = {"aggregationTemporality": _CUMULATIVE, "dataPoints": points}
        elif family.type == "counter":
            counted = [one for one in family.samples if one.name.endswith("_total")]
            points = [_point(one.labels, times) | {"asDouble": _number(one.value)} for one in counted]
            told["name"] += "_total"
            told["sum"] = {
                "aggregationTemporality": _CUMULATIVE,
                "isMonotonic": True,
                "dataPoints": points,
            }
        else:
            now = {"timeUnixNano": times["timeUnixNano"]}
            points = [_point(one.labels, now) | {"asDouble": _number(one.value)} for one in family.samples]
            told["gauge"] = {"dataPoints": points}
        if points:
            yield told


def _histograms(samples: Iterable[Sample], times: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A point for each series: Prometheus' buckets count what is at most their bound, those of OTLP what is between."""
    series: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for one in samples:
        of = tuple(sorted((name, value) for name, value in one.labels.items() if name != "le"))
        series.setdefault(of, []).append(one)
    for of, found in series.items():
        bounds = sorted(
            (float(one.labels["le"]), int(one.value)) for one in found if one.name.endswith("_bucket")
        )
        counts = [0, *(count for _, count in bounds)]
        total = next(one.value for one in found if one.name.endswith("_sum"))
        yield _point(dict(of), times) | {
            "count": str(counts[-1]),
            "sum": _number(total),
            "bucketCounts": [str(after - before) for before, after in pairwise(counts)],
            "explicitBounds": [bound for bound, _ in bounds[:-1]],
        }


def _point(labels: Mapping[str, str], times: Mapping[str, str]) -> dict[str, Any]:
    return {"attributes": described(labels), **times}


def _number(value: float) -> float | str:
    """A number as JSON of protocol buffers has it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _nanos(at: datetime) -> str:
    return str((at - _EPOCH) // timedelta(microseconds=1) * 1000)
