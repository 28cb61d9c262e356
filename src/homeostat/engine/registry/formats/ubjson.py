"""Reading UBJSON (https://ubjson.org, draft 12), the binary JSON in which XGBoost keeps its models.

Arrays of one type become NumPy arrays. Reading is stricter than the draft where leniency would let another reader see
something else: a key may stand once in an object, and nothing may follow the value.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np

_INTEGERS: Final = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_NUMBERS: Final = {**_INTEGERS, b"d": ">f", b"D": ">d"}
_CONSTANTS: Final[dict[bytes, Any]] = {b"Z": None, b"T": True, b"F": False}
_DEEPEST: Final = 64


class BadUbjson(ValueError):
    """Bytes that are no UBJSON."""


def parse(data: bytes) -> Any:
    """The value that ``data`` holds.

    Raises:
        BadUbjson: it is something else, or torn.
    """
    reader = _Reader(data)
    value = reader.value(reader.take(1), 0)
    if reader.at != len(data):
        raise BadUbjson(f"{len(data) - reader.at} bytes follow the value")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self._data):
            raise BadUbjson(f"it ends at byte {len(self._data)}, within a value")
        found = self._data[self.at : end]
        self.at = end
        return found

    def value(self, marker: bytes, depth: int) -> Any:
        if depth > _DEEPEST:
            raise BadUbjson(f"it is nested more than {_DEEPEST} deep")
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker in _NUMBERS:
            return self._number(marker)
        if marker == b"S":
            return self._text()
        if marker == b"C":
            return self.take(1).decode("ascii", "replace")
        if marker == b"{":
            return self._object(depth)
        if marker == b"[":
            return self._array(depth)
        raise BadUbjson(f"byte {self.at - 1} is no marker: {marker!r}")

    def _number(self, marker: bytes) -> Any:
        form = _NUMBERS[marker]
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def _length(self) -> int:
        marker = self.take(1)
        if marker not in _INTEGERS:
            raise BadUbjson(f"byte {self.at - 1} begins no length: {marker!r}")
        length: int = self._number(marker)
        return length

    def _text(self) -> str:
        try:
            return self.take(self._length()).decode()
        except UnicodeDecodeError as error:
            raise BadUbjson(f"a text is not UTF-8: {error}") from error

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._data[self.at : self.at + 1] != b"}":
            key = self._text()
            if key in found:
                raise BadUbjson(f"{key!r} stands twice in an object")
            found[key] = self.value(self.take(1), depth + 1)
        self.at += 1
        return found

    def _array(self, depth: int) -> Any:
        if self._data[self.at : self.at + 1] == b"$":
            return self._typed()
        count = None
        if self._data[self.at : self.at + 1] == b"#":
            self.at += 1
            count = self._length()
        found: list[Any] = []
        while (count is None and self._data[self.at : self.at + 1] != b"]") or (
            count is not None and len(found) < count
        ):
            found.append(self.value(self.take(1), depth + 1))
        if count is None:
            self.at += 1
        return found

    def _typed(self) -> Any:
        self.at += 1
        marker = self.take(1)
        if marker not in _NUMBERS or self.take(1) != b"#":
            raise BadUbjson(f"the array at byte {self.at} is of no number's type")
        dtype = np.dtype(_NUMBERS[marker].replace(">b", "i1").replace(">B", "u1"))
        return np.frombuffer(self.take(self._length() * dtype.itemsize), dtype)
