"""Times as people write them: ``2026-01-31`` or ``2026-01-31T12:00``, in UTC unless they name a zone."""

from __future__ import annotations

from datetime import UTC, datetime

from homeostat.domain.errors import BadRequest


def parse_time(text: str, *, field: str = "") -> datetime:
    """Parse a date or a time.

    Args:
        text: As ISO 8601 has it.
        field: What it is for, as an error names it.

    Raises:
        BadRequest: it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(
            f"{field} {text!r} is no time".strip() if text else f"{field or 'the time'} is missing",
            field=field or "time",
            remedy="Write it as in 2026-01-31, or 2026-01-31T12:00 (UTC)",
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
