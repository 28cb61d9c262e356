"""Feedback on traces and expectations of them: added, changed, replaced and removed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracing.stored import locked_trace
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.traces import Assessment
from homeostat.engine.tracking import limits
from homeostat.ports.meta import Transaction

KINDS: Final = ("feedback", "expectation", "issue")
CHANGEABLE: Final = frozenset({*KINDS, "assessment_name", "rationale", "metadata"})
_NAME: Final = 250


def assess(container: Container, trace_id: str, body: Mapping[str, Any]) -> Assessment:
    """Add an assessment of a trace; one that it ``overrides`` is valid no more.

    Args:
        container: The ports.
        trace_id: The trace.
        body: What its sender says, with ``assessment_name`` and one of ``feedback``, ``expectation`` and ``issue``.

    Raises:
        NotFound: there is no such trace, or none to override.
        BadRequest: it is no assessment.
    """
    with container.store.begin() as tx:
        locked_trace(tx, trace_id)
        return add_in(container, tx, trace_id, body)


def add_in(container: Container, tx: Transaction, trace_id: str, body: Mapping[str, Any]) -> Assessment:
    """As ``assess``, in a transaction that has locked the trace."""
    name = body.get("assessment_name")
    if not isinstance(name, str) or not name:
        raise BadRequest(
            "Missing value for required parameter 'assessment.assessment_name'.", field="assessment_name"
        )
    limits.check_length(name, _NAME, "assessment_name")
    if sum(kind in body for kind in KINDS) != 1:
        raise BadRequest(f"An assessment has exactly one of {', '.join(KINDS)}", field="assessment")
    replaced = body.get("overrides")
    if replaced:
        _validate(tx, _get(tx, trace_id, str(replaced)), valid=False)
    now = container.clock.now()
    made = Assessment(
        trace=trace_id,
        id=f"a-{os.urandom(16).hex()}",
        name=name,
        body={**body, "assessment_name": name},
        created_at=now,
        updated_at=now,
    )
    tx.insert(made)
    return made


def assessment(container: Container, trace_id: str, id: str) -> Assessment:
    """An assessment.

    Raises:
        NotFound: the trace has none of this id.
    """
    found = container.store.get(Assessment, trace_id, id)
    if found is None:
        raise _none(trace_id, id)
    return found


def change_assessment(container: Container, trace_id: str, id: str, values: Mapping[str, Any]) -> Assessment:
    """Change fields of an assessment.

    Raises:
        NotFound: the trace has none of this id.
        BadRequest: a field cannot be changed.
    """
    refused = sorted(set(values) - CHANGEABLE)
    if refused:
        raise BadRequest(f"{refused[0]!r} of an assessment cannot be changed", field="update_mask")
    with container.store.begin() as tx:
        locked_trace(tx, trace_id)
        old = _get(tx, trace_id, id)
        changed = {**old.body, **values}
        if "metadata" in values:  # what is known already stays, as with MLflow
            more = values["metadata"] or {}
            if not isinstance(more, Mapping):
                raise BadRequest("the metadata of an assessment are an object", field="assessment.metadata")
            changed["metadata"] = {**(old.body.get("metadata") or {}), **more}
        if sum(kind in changed for kind in KINDS) != 1:
            raise BadRequest(
                "Feedback cannot become an expectation, nor the other way round", field="assessment"
            )
        new = msgspec.structs.replace(
            old, body=changed, name=str(changed["assessment_name"]), updated_at=container.clock.now()
        )
        tx.put(new)
    return new


def delete_assessment(container: Container, trace_id: str, id: str) -> None:
    """Remove an assessment; the one whose place it took is valid again. Removing none is no error.

    Raises:
        NotFound: there is no such trace.
    """
    with container.store.begin() as tx:
        locked_trace(tx, trace_id)
        old = tx.get(Assessment, trace_id, id)
        if old is None:
            return
        tx.delete(Assessment, ("trace", "=", trace_id), ("id", "=", id))
        before = tx.get(Assessment, trace_id, str(old.body.get("overrides", "")))
        if before is not None:
            _validate(tx, before, valid=True)


def _get(tx: Transaction, trace_id: str, id: str) -> Assessment:
    found = tx.get(Assessment, trace_id, id)
    if found is None:
        raise _none(trace_id, id)
    return found


def _validate(tx: Transaction, found: Assessment, *, valid: bool) -> None:
    tx.put(msgspec.structs.replace(found, valid=valid))


def _none(trace_id: str, id: str) -> NotFound:
    return NotFound(f"Assessment with ID '{id}' not found for trace '{trace_id}'")
