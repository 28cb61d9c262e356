"""Values as the protocol writes them: milliseconds, doubles, tags, and the names of states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from homeostat.domain.records import RunState
from homeostat.server.mlflow.reading import Named, invalid

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

STATUS: Final[dict[RunState, str]] = {
    "queued": "SCHEDULED",
    "running": "RUNNING",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}
# Protobuf's JSON takes an enum by name or by number; in a query the number comes as a text.
_STATES: Final[dict[str, RunState]] = {
    **{status: state for state, status in STATUS.items()},
    "1": "running",
    "2": "queued",
    "3": "succeeded",
    "4": "failed",
    "5": "cancelled",
}
View = Literal["active", "deleted", "all"]
_VIEWS: Final[dict[str, View]] = {
    "ACTIVE_ONLY": "active",
    "DELETED_ONLY": "deleted",
    "ALL": "all",
    "1": "active",
    "2": "deleted",
    "3": "all",
}


class Tag(msgspec.Struct, frozen=True, gc=False):
    """A key with a text, of a tag or a parameter."""

    key: Named
    value: str = ""


def pairs(values: Mapping[str, str]) -> list[Tag]:
    """Tags or parameters as the protocol lists them, in order of their keys."""
    return [Tag(key, values[key]) for key in sorted(values)]


def mapped(tags: Iterable[Tag]) -> dict[str, str]:
    """Tags by key; of a key that comes twice the last counts."""
    return {tag.key: tag.value for tag in tags}


def cut(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """Texts with what exceeds ``limit`` characters cut off, as MLflow's server does with tags and parameters."""
    return {key: value if len(value) <= limit else value[:limit] for key, value in values.items()}


def millis(at: datetime) -> int:
    """A time in milliseconds since 1970."""
    return (at - _EPOCH) // _MILLISECOND


def moment(number: int, name: str) -> datetime:
    """The time ``number`` milliseconds after 1970.

    Raises:
        BadRequest: it is beyond the calendar.
    """
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError as error:
        raise invalid(name, number, "it is no time in milliseconds since 1970") from error


def double(value: float | None) -> float | str:
    """A double as JSON can write it; None is NaN."""
    if value is None or value != value:
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def state_of(status: int | str) -> RunState:
    """The state that a status names.

    Raises:
        BadRequest: it names none.
    """
    found = _STATES.get(str(status))
    if found is None:
        raise invalid("status", status, f"use one of {', '.join(STATUS.values())}")
    return found


def view_of(view: int | str, name: str) -> View:
    """The view that a view type names.

    Raises:
        BadRequest: it names none.
    """
    found = _VIEWS.get(str(view))
    if found is None:
        raise invalid(name, view, "use one of ACTIVE_ONLY, DELETED_ONLY, ALL")
    return found
