"""Numbers as JSON can hold them: infinities, which it has no form for, are the texts that Python reads as such."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

import msgspec


class Infinite(float):
    """An infinity that is a text in JSON; else a number like any other."""


INFINITE: Final = "x-infinite"
"""The key, in the schema of a number, of the texts that it may be as well; msgspec's own says that it is a number."""

Number = Annotated[float, msgspec.Meta(extra_json_schema={INFINITE: ["Infinity", "-Infinity"]})] | None
"""A number of whatever size; None stands for NaN."""


def plain(value: float | None) -> float | None:
    """A number as JSON can hold it."""
    if value is None or math.isfinite(value):
        return value
    return None if math.isnan(value) else Infinite(value)


def in_json(value: Any) -> str:
    """An infinity in JSON, for msgspec's encoders."""
    if isinstance(value, Infinite):
        return "Infinity" if value > 0 else "-Infinity"
    raise NotImplementedError(f"a {type(value).__name__} has no form in JSON")
