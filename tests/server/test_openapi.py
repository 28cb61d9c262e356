"""What /openapi.json says of the data plane holds for whatever a client may send: schemathesis asks a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.server.workers import Worker

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    running = Worker(tmp_path_factory.mktemp("plane"))
    running.deploy(1, (1, 0.5, "champion"), (2, 0.5, "canary"))
    running.start()
    yield schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    assert running.stop() == 0


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_as_described(api: Any, mode: GenerationMode) -> None:
    asked = set()
    for found in api.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and operation.method.upper() != "POST":
            continue  # nothing in it can be wrong

        @settings(
            derandomize=True,
            database=None,
            max_examples=10,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        ask()
        asked.add(operation.path)
    assert {
        "/predict/flights",
        "/v2/models/flights/infer",
        "/v1/models/flights:predict",
        "/invocations",
    } <= asked
