"""OpenTelemetry's exporters: ``POST /v1/traces``, spans in protobuf or JSON (https://opentelemetry.io/docs/specs/otlp)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from homeostat.app.container import Container
from homeostat.app.tracing.ingest import take_spans
from homeostat.domain.errors import BadRequest, HomeostatError
from homeostat.engine.tracking.spans import read_json, read_protobuf
from homeostat.server.http import Scope
from homeostat.server.mlflow.errors import MlflowError, answer_of
from homeostat.server.mlflow.experiments import experiment_id

PATH: Final = "/v1/traces"
PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_EXPERIMENT: Final = "x-mlflow-experiment-id"
_RUN: Final = "x-mlflow-run-id"

_log = logging.getLogger(__name__)


def take(container: Container, scope: Scope, body: bytes) -> tuple[int, bytes, str]:
    """Answer one export: the status, the body, and its media type. An empty body says that all was taken."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        _take(container, headers, kind, body)
    except HomeostatError as error:
        return *answer_of(error), _JSON
    except Exception:  # noqa: BLE001 - the client gets an answer, the log the cause
        _log.exception("an export of spans failed")
        return *answer_of(MlflowError("INTERNAL_ERROR", "the server failed; see its log")), _JSON
    return 200, b"" if kind == PROTOBUF else b"{}", kind


def _take(container: Container, headers: Mapping[str, str], kind: str, body: bytes) -> None:
    if kind not in (PROTOBUF, _JSON):
        raise BadRequest(
            f"Invalid Content-Type: {kind}. Expected: {PROTOBUF} or {_JSON}", field="Content-Type"
        )
    if not headers.get(_EXPERIMENT):
        raise BadRequest(
            f"The header {_EXPERIMENT} is missing",
            field=_EXPERIMENT,
            remedy="Set OTEL_EXPORTER_OTLP_HEADERS to x-mlflow-experiment-id=0, or that of another experiment",
        )
    spans = read_json(body) if kind == _JSON else read_protobuf(body)
    if not spans:
        raise BadRequest("Invalid OpenTelemetry format - no spans found")
    take_spans(container, experiment_id(headers[_EXPERIMENT]), spans, run_id=headers.get(_RUN, ""))
