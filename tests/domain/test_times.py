"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from homeostat.domain.errors import BadRequest
from homeostat.domain.times import parse_time


def test_without_a_zone_it_is_utc() -> None:
    assert parse_time("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_time("2026-01-31T12:00") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    east = timezone(timedelta(hours=2))
    assert parse_time("2026-01-31T12:00+02:00") == datetime(2026, 1, 31, 12, tzinfo=east)


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("soon", "", "'soon' is no time"),
        ("soon", "--from", "--from 'soon' is no time"),
        ("", "--from", "--from is missing"),
        ("", "", "the time is missing"),
    ],
)
def test_what_is_no_time(text: str, field: str, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_time(text, field=field)
    assert caught.value.message == said
    assert "2026-01-31" in caught.value.remedy
