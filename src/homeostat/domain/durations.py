"""Durations as people write them: ``"30s"``, ``"3h"``, ``"7d"``, ``"1d12h"``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from homeostat.domain.errors import DeclarationError

_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_duration(text: str | timedelta) -> timedelta:
    """Parse a positive duration.

    Raises:
        DeclarationError: ``text`` is not a sequence of number and unit (ms, s, m, h, d, w), or is zero.
    """
    if isinstance(text, timedelta):
        return text
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise DeclarationError(f"{text!r} is no duration", remedy='Write it as "30s", "3h", "7d" or "1d12h"')
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """The shortest exact writing of ``span`` in whole units, as in ``"1d12h"``."""
    millis = round(span.total_seconds() * 1000)
    out = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, millis = divmod(millis, size)
        out += f"{count}{unit}" if count else ""
    return out or "0s"
