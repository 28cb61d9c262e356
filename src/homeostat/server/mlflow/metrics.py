"""The calls that read the history of metrics: whole, in pages, of many runs, or a sample to draw."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.engine.tracking.points import History
from homeostat.server.http import encode
from homeostat.server.mlflow.reading import Int32, Named, missing
from homeostat.server.mlflow.runs import ShownMetric
from homeostat.server.mlflow.values import double
from homeostat.server.mlflow.wire import Endpoint

_BULK: Final = 25_000
_RUNS: Final = 100
_SAMPLE: Final = 2_500
_TOGETHER: Final = 5_000


class GetHistory(msgspec.Struct, frozen=True):
    """``metrics/get-history``; all of it without ``max_results``."""

    metric_key: Named
    run_id: str = ""
    run_uuid: str = ""
    max_results: Int32 | None = None
    page_token: str = ""


class GetBulk(msgspec.Struct, frozen=True):
    """``metrics/get-history-bulk``, where ``run_id`` comes many times."""

    metric_key: str = ""
    run_id: list[str] = []
    max_results: Int32 = _BULK


class GetSample(msgspec.Struct, frozen=True):
    """``metrics/get-history-bulk-interval``."""

    run_ids: Annotated[list[str], msgspec.Meta(min_length=1)]
    metric_key: Named
    start_step: Int32 | None = None
    end_step: Int32 | None = None
    max_results: Int32 = _SAMPLE


class PointOfRun(msgspec.Struct, frozen=True, gc=False):
    """A point of a metric, and the run that it is of."""

    key: str
    value: float | str
    timestamp: int
    step: int
    run_id: str


class Bulk(msgspec.Struct, frozen=True):
    """The answer to ``metrics/get-history-bulk``."""

    metrics: list[PointOfRun]


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to ``metrics/get-history-bulk-interval``."""

    metrics: list[PointOfRun] = []


def _history(container: Container, asked: GetHistory) -> bytes:
    run = asked.run_id or asked.run_uuid
    if not run:
        raise missing("run_id")
    if asked.max_results is not None and asked.max_results <= 0:
        raise BadRequest(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied. "
            "It must be a positive integer.",
            field="max_results",
        )
    found, token = tracking.history(container, run, asked.metric_key), ""
    if asked.max_results is not None or asked.page_token:
        from homeostat.engine.tracking.sampling import page

        found, token = page(found, asked.max_results or len(found), asked.page_token)
    return _written(asked.metric_key, found, token)


def _written(key: str, found: History, token: str) -> bytes:
    """The answer that holds points, a few of them made objects at a time: all would take more than all else does."""
    parts: list[bytes] = []
    for begin in range(0, len(found), _TOGETHER):
        end = begin + _TOGETHER
        some = History(found.timestamp[begin:end], found.step[begin:end], found.value[begin:end])
        parts.append(encode([ShownMetric(key, *point) for point in _points(some)])[1:-1])
    members = [b'"metrics":[%s]' % b",".join(parts)] if parts else []
    members += [b'"next_page_token":' + encode(token)] if token else []
    return b"{%s}" % b",".join(members)


def _bulk(container: Container, asked: GetBulk) -> Bulk:
    if not asked.run_id:
        raise BadRequest("GetMetricHistoryBulk request must specify at least one run_id.", field="run_id")
    if len(asked.run_id) > _RUNS:
        raise BadRequest(
            f"GetMetricHistoryBulk request cannot specify more than {_RUNS} run_ids."
            f" Received {len(asked.run_id)} run_ids.",
            field="run_id",
        )
    if not asked.metric_key:
        raise BadRequest("GetMetricHistoryBulk request must specify a metric_key.", field="metric_key")
    from homeostat.engine.tracking.sampling import page

    left = max(0, min(asked.max_results, _BULK))
    found: list[PointOfRun] = []
    for run in sorted(set(asked.run_id)):
        if left > len(found) and (whole := _known(container, run, asked.metric_key)) is not None:
            part, _ = page(whole, left - len(found))
            found += [PointOfRun(asked.metric_key, *point, run) for point in _points(part)]
    return Bulk(found)


def _sample(container: Container, asked: GetSample) -> Sample:
    if len(asked.run_ids) > _RUNS:
        raise BadRequest(
            f"GetMetricHistoryBulkInterval request must specify at most {_RUNS} run_ids."
            f" Received {len(asked.run_ids)} run_ids.",
            field="run_ids",
        )
    if not 1 <= asked.max_results <= _SAMPLE:
        raise BadRequest(f"max_results must be between 1 and {_SAMPLE}.", field="max_results")
    from homeostat.engine.tracking.sampling import sample

    steps = _steps(asked)
    found: list[PointOfRun] = []
    for run in asked.run_ids:
        if (whole := _known(container, run, asked.metric_key)) is not None:
            part = sample(whole, asked.max_results, steps)
            found += [PointOfRun(asked.metric_key, *point, run) for point in _points(part)]
    return Sample(found)


def _steps(asked: GetSample) -> tuple[int, int] | None:
    if asked.start_step is None and asked.end_step is None:
        return None
    if asked.start_step is None or asked.end_step is None:
        raise BadRequest(
            "If either start step or end step are specified, both must be specified.", field="start_step"
        )
    if asked.start_step > asked.end_step:
        raise BadRequest(
            "end_step must be greater than start_step. "
            f"Found start_step={asked.start_step} and end_step={asked.end_step}.",
            field="end_step",
        )
    return asked.start_step, asked.end_step


def _known(container: Container, run: str, key: str) -> History | None:
    """The history of a run among many; None when there is no such run, which hides nothing of the others."""
    try:
        return tracking.history(container, run, key)
    except NotFound:
        return None


def _points(found: History) -> zip[tuple[float | str, int, int]]:
    import numpy as np

    values = found.value.tolist()
    if not np.isfinite(found.value).all():
        values = list(map(double, values))
    return zip(values, found.timestamp.tolist(), found.step.tolist(), strict=True)


_AT: Final = "2.0/mlflow/metrics/"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("GET", _AT + "get-history", GetHistory, _history),
    Endpoint("GET", _AT + "get-history-bulk", GetBulk, _bulk),
    Endpoint("GET", _AT + "get-history-bulk-interval", GetSample, _sample),
)
