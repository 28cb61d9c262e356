"""Values as the protocol writes them: milliseconds, doubles, tags, and the names of states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.domain.records import RunState
from homeostat.domain.tracking import STATUSES
from homeostat.ports.meta import Where
from homeostat.server.mlflow.reading import Named, invalid

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)

# Protobuf's JSON takes an enum by name or by number; in a query the number comes as a text.
_STATES: Final[dict[str, RunState]] = {
    **{status: cast("RunState", state) for state, status in STATUSES.items()},
    "1": "running",
    "2": "queued",
    "3": "succeeded",
    "4": "failed",
    "5": "cancelled",
}
_ACTIVE: Final[Where] = ("deleted_at", "=", None)
_DELETED: Final[Where] = ("deleted_at", "!=", None)
_VIEWS: Final[dict[str, tuple[Where, ...]]] = {
    "ACTIVE_ONLY": (_ACTIVE,),
    "DELETED_ONLY": (_DELETED,),
    "ALL": (),
    "1": (_ACTIVE,),
    "2": (_DELETED,),
    "3": (),
}
_MOST: Final = 50_000


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
        raise invalid("status", status, f"use one of {', '.join(STATUSES.values())}")
    return found


def view_of(view: int | str, name: str) -> tuple[Where, ...]:
    """The condition that a view type is.

    Raises:
        BadRequest: it is none.
    """
    found = _VIEWS.get(str(view))
    if found is None:
        raise invalid(name, view, "use one of ACTIVE_ONLY, DELETED_ONLY, ALL")
    return found


def check_limit(limit: int) -> None:
    """Check how many results a page may have.

    Raises:
        BadRequest: less than 1, or more than 50,000.
    """
    if not 1 <= limit <= _MOST:
        wanted = "a positive integer" if limit < 1 else f"at most {_MOST}"
        raise BadRequest(
            f"Invalid value {limit} for parameter 'max_results' supplied. It must be {wanted}",
            field="max_results",
        )
