"""Two sketches of Apache DataSketches as they are stored (https://datasketches.apache.org, serial versions 1 and 2).

Profiles of whylogs hold them: KLL of doubles, as quantiles were kept by Karnin, Lang & Liberty ("Optimal quantile
approximation in streams", 2016), and frequent strings (Misra & Gries). They are read here, since the library of today
refuses the doubles of the release that whylogs writes, whose preamble is one word longer.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

_EMPTY: Final = 1
_KLL: Final = 15
_FREQUENT: Final = 10

Floats = npt.NDArray[np.float64]


def quantiles(data: bytes) -> tuple[Floats, Floats]:
    """The values that a KLL sketch of doubles kept, sorted, and how many each stands for; least and greatest are kept.

    Raises:
        ValueError: it is no such sketch, or cut off.
    """
    words, version, flags = _head(data, _KLL)
    if flags & _EMPTY:
        return np.zeros(0), np.zeros(0)
    if version == 2:  # one value, after a head of two words
        return np.frombuffer(data, "<f8", 1, 4 * words), np.ones(1)
    levels = data[18]
    begins = np.frombuffer(data, "<u4", levels, 4 * words).astype(np.int64)
    kept = np.frombuffer(data[4 * words + 4 * levels :], "<f8")
    least, greatest, items = kept[0], kept[1], kept[2:]
    lengths = np.diff(begins, append=begins[0] + len(items))
    weights = np.repeat(2.0 ** np.arange(levels), lengths)
    if weights.sum() != struct.unpack_from("<Q", data, 8)[0]:
        raise ValueError("its weights are not those of its values")
    order = np.argsort(items, kind="stable")
    items, weights = items[order].copy(), weights[order]
    items[0], items[-1] = least, greatest
    return items, weights


def frequent(data: bytes) -> dict[str, int]:
    """The texts that a sketch of frequent strings kept, and at most how often each came.

    Raises:
        ValueError: it is no such sketch, or cut off.
    """
    words, _, _ = _head(data, _FREQUENT)
    if words == 1:
        return {}
    (count,) = struct.unpack_from("<I", data, 8)
    (offset,) = struct.unpack_from("<Q", data, 24)
    weights = np.frombuffer(data, "<u8", count, 8 * words)
    at, found = 8 * words + 8 * count, {}
    for weight in weights:
        (length,) = struct.unpack_from("<I", data, at)
        text = data[at + 4 : at + 4 + length]
        if len(text) < length:
            raise ValueError("it ends in the middle of a text")
        found[text.decode()] = int(weight) + offset
        at += 4 + length
    return found


def _head(data: bytes, family: int) -> tuple[int, int, int]:
    """Words of the preamble, serial version, and flags."""
    if len(data) < 8 or data[2] != family:
        raise ValueError("it is no such sketch")
    flags = data[3] if family == _KLL else data[5]
    return data[0], data[1], flags
