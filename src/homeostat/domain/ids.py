"""Identifiers that sort by creation: ULIDs (https://github.com/ulid/spec), 26 characters of Crockford base 32."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS: Final = tuple(range(120, -1, -10))


def new_id(at: datetime) -> str:
    """A new id whose first ten characters are ``at`` in milliseconds and whose rest is random."""
    number = int(at.timestamp() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
