"""Data quality: what the data that a model is asked with must hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError

_WEEK: Final = timedelta(days=7)


class DataQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What live data must hold in each window; what does not opens a ticket. None: not judged.

    Features that are absent or of another type, values that are not finite, and features stuck at one value are always
    judged.

    Args:
        window: The newest requests, as ``"1d"``.
        missing: So much larger than in training the share of missing values of a feature may be.
        out_of_range: The same of values below or above all of training.
        new_values: The same of texts that training hardly had.
        volume: The least number of requests, as a share of those a week before (of a longer window: as many weeks).
        freshness: What stands behind 99 of 100 features of a view came at most so long before the request, as ``"6h"``.
        duplicates: The largest share of requests that ask the same as an earlier one: key, time and features.
        skew: The largest share of predictions whose features are others when computed anew, point in time. While it is
            larger, no rule trains.
        sample: Of how many predictions, spread evenly, features are computed anew.
    """

    window: str = "1d"
    missing: float | None = 0.05
    out_of_range: float | None = 0.05
    new_values: float | None = 0.05
    volume: float | None = 0.5
    freshness: str | None = None
    duplicates: float | None = None
    skew: float | None = 0.05
    sample: int = 20

    def __post_init__(self) -> None:
        for text in (self.window, self.freshness):
            if text is not None:
                parse_duration(text)
        for name in ("missing", "out_of_range", "new_values", "volume", "duplicates", "skew"):
            share = getattr(self, name)
            if share is not None and not 0 <= share < 1:
                raise DeclarationError(
                    f"hs.DataQuality({name}={share!r}) is no share", remedy="Give one from 0 up to 1, as 0.05"
                )
        if self.sample < 1:
            raise DeclarationError(
                f"hs.DataQuality(sample={self.sample!r}) compares nothing", remedy="Give a number, as 20"
            )

    @property
    def span(self) -> timedelta:
        """``window`` as a timedelta."""
        return parse_duration(self.window)

    @property
    def before(self) -> timedelta:
        """How long before a window that lies which its volume is compared with: whole weeks."""
        return _WEEK * -(-self.span // _WEEK)
