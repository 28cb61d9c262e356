"""What Prometheus scrapes is what a collector of OpenTelemetry is told."""

from __future__ import annotations

import math
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.server import control, succession
from homeostat.server.measured import tell, written
from homeostat.server.telemetry import Telemetry
from tests.server.collecting import Collector
from tests.server.workers import Worker, eventually, write_deployments

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGAN + timedelta(minutes=1)


def read(request: bytes) -> dict[str, Any]:
    """Metrics by name, read by OpenTelemetry's own messages."""
    told = Parse(request, ExportMetricsServiceRequest())
    (resource,) = told.resource_metrics
    assert {one.key: one.value.string_value for one in resource.resource.attributes}[
        "service.name"
    ] == "homeostat"
    (scope,) = resource.scope_metrics
    return {one.name: one for one in scope.metrics}


def attributes(point: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in point.attributes}


def sent() -> list[dict[str, Any]]:
    return [read(body) for path, body in Collector.got if path == "/v1/metrics"]


def test_counters_gauges_and_histograms_are_what_a_scrape_tells() -> None:
    registry = CollectorRegistry()
    asked = Counter("asked", "Requests.", ["by"], registry=registry)
    asked.labels("a").inc(3)
    asked.labels("b").inc(0.5)
    level = Gauge("level_ratio", "A level.", ["of"], registry=registry)
    for name, value in (("x", 0.25), ("y", math.nan), ("z", math.inf)):
        level.labels(name).set(value)
    took = Histogram("took_seconds", "Seconds.", ["by"], buckets=(0.1, 1.0), registry=registry)
    for seconds in (0.05, 0.1, 0.5, 7.0):
        took.labels("a").observe(seconds)
    Gauge("silent", "Nothing is known of it.", ["by"], registry=registry)
    found = read(written(registry.collect(), BEGAN, NOW))
    assert set(found) == {"asked_total", "level_ratio", "took_seconds"}
    sums = found["asked_total"].sum
    assert (sums.is_monotonic, sums.aggregation_temporality) == (True, 2)
    assert {attributes(one)["by"]: one.as_double for one in sums.data_points} == {"a": 3.0, "b": 0.5}
    assert sums.data_points[0].start_time_unix_nano == int(BEGAN.timestamp()) * 10**9
    assert sums.data_points[0].time_unix_nano == int(NOW.timestamp()) * 10**9
    levels = {attributes(one)["of"]: one.as_double for one in found["level_ratio"].gauge.data_points}
    assert (levels["x"], math.isnan(levels["y"]), levels["z"]) == (0.25, True, math.inf)
    histogram = found["took_seconds"].histogram
    assert (found["took_seconds"].unit, histogram.aggregation_temporality) == ("s", 2)
    (point,) = histogram.data_points
    assert (point.count, point.sum, attributes(point)) == (4, 7.65, {"by": "a"})
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([0.1, 1.0], [2, 1, 1])


def test_a_model_server_tells_what_its_metrics_tell(
    tmp_path: Path, collector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTLP", collector)
    write_deployments(tmp_path, {"flights": (1, [(1, 1.0, "champion")])})
    worker = Worker(tmp_path).start()
    try:
        (point,) = eventually(sent)[0]["homeostat_arm_weight"].gauge.data_points
    finally:
        worker.stop(signal.SIGTERM)
    assert point.as_double == 1.0
    assert attributes(point) == {
        "pid": str(worker.process.pid),
        "deployment": "flights",
        "version": "1",
        "role": "champion",
    }


def test_the_control_process_tells_what_its_metrics_tell(tmp_path: Path, collector: str) -> None:
    class Idle:
        def tick(self) -> None:
            """Nothing."""

    with Container(Settings(home=tmp_path / "home", otlp=collector)) as container:
        lease = succession.take(container, "http://127.0.0.1:1")
        assert lease is not None
        native: Any = SimpleNamespace(controller=Idle(), telemetry=Telemetry(container))
        background = control.Background(container, lambda: native, lease)
        background.start()
        try:
            told = eventually(sent)[0]
        finally:
            background.stop()
        assert (
            told["homeostat_ledger_events_total"].sum.data_points[0].as_double == container.ledger.head().seq
        )
    assert told["homeostat_build_info"].gauge.data_points[0].as_double == 1
    assert "homeostat_tick_seconds" in told


def test_a_collector_that_is_away_or_refuses_is_told_the_next_time(
    collector: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    Counter("asked", "Requests.", registry=registry).inc()
    tell("http://127.0.0.1:9", registry.collect(), BEGAN, NOW)
    assert "http://127.0.0.1:9 was not told metrics" in caplog.text
    tell(collector, registry.collect(), BEGAN, NOW)
    assert sent()[0]["asked_total"].sum.data_points[0].as_double == 1
