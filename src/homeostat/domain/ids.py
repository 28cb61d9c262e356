"""Identifiers that sort by creation: ULIDs (https://github.com/ulid/spec), 26 characters of Crockford base 32."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_RANDOM: Final = 16
_AT_ONCE: Final = 256
_LETTERS: Final = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))

_tails: list[str] = []
"""Random ends, each given out once: asking the kernel for many costs what asking for one does."""

os.register_at_fork(after_in_child=_tails.clear)


def new_id(at: datetime) -> str:
    """A new id whose first ten characters are ``at`` in milliseconds and whose rest is random."""
    n = int(at.timestamp() * 1000)
    head = f"{_PAIRS[n >> 40 & 1023]}{_PAIRS[n >> 30 & 1023]}{_PAIRS[n >> 20 & 1023]}{_PAIRS[n >> 10 & 1023]}"
    return f"{head}{_PAIRS[n & 1023]}{_tail()}"


def _tail() -> str:
    while True:
        try:
            return _tails.pop()
        except IndexError:  # also where another thread took the last
            letters = os.urandom(_RANDOM * _AT_ONCE).translate(_LETTERS).decode()
            _tails.extend(letters[n : n + _RANDOM] for n in range(0, len(letters), _RANDOM))
