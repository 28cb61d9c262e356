"""The calls about assessments: feedback on traces, and what was expected of them."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracing import assessments
from homeostat.server.mlflow.reading import Named
from homeostat.server.mlflow.spans import shown_assessment
from homeostat.server.mlflow.wire import Endpoint

# What the server says of an assessment, and not its sender.
_OURS: Final = ("assessment_id", "trace_id", "create_time", "last_update_time", "valid")


class Creation(msgspec.Struct, frozen=True):
    """``POST traces/…/assessments``."""

    trace_id: Named
    assessment: dict[str, Any]


class ById(msgspec.Struct, frozen=True):
    """``GET`` and ``DELETE traces/…/assessments/…``."""

    trace_id: Named
    assessment_id: Named


class Change(msgspec.Struct, frozen=True):
    """``PATCH traces/…/assessments/…``; ``update_mask`` names the fields, in camel case and joined by commas."""

    trace_id: Named
    assessment_id: Named
    assessment: dict[str, Any]
    update_mask: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The answer that holds one."""

    assessment: dict[str, Any]


def _create(container: Container, asked: Creation) -> Answer:
    body = {name: value for name, value in asked.assessment.items() if name not in _OURS}
    return Answer(shown_assessment(assessments.assess(container, asked.trace_id, body)))


def _get(container: Container, asked: ById) -> Answer:
    return Answer(shown_assessment(assessments.assessment(container, asked.trace_id, asked.assessment_id)))


def _change(container: Container, asked: Change) -> Answer:
    named = [re.sub("([A-Z])", r"_\1", name).lower() for name in asked.update_mask.split(",") if name]
    values = {name: asked.assessment[name] for name in named if name in asked.assessment}
    changed = assessments.change_assessment(container, asked.trace_id, asked.assessment_id, values)
    return Answer(shown_assessment(changed))


def _delete(container: Container, asked: ById) -> None:
    assessments.delete_assessment(container, asked.trace_id, asked.assessment_id)


_AT: Final = "3.0/mlflow/traces/{trace_id}/assessments"
_ONE: Final = _AT + "/{assessment_id}"
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("POST", _AT, Creation, _create),
    Endpoint("GET", _ONE, ById, _get),
    Endpoint("PATCH", _ONE, Change, _change),
    Endpoint("DELETE", _ONE, ById, _delete),
)
