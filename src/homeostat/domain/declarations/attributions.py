"""Feature attributions: how far what a model decides by may move from what it decided by in training."""

from __future__ import annotations

import msgspec

from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import DeclarationError


class Attributions(msgspec.Struct, frozen=True, kw_only=True):
    """What features add to answers, compared with training in each window; too far opens a ticket.

    Some training rows are kept in the model's package for it, values and all.

    Args:
        window: The newest requests, as ``"7d"``.
        ndcg: The least agreement with training in which features matter most: 1 for the same order.
        rows: Of how many requests, and as many training rows, spread evenly, answers are explained.
        budget: Rows that the model may be asked with for each of both, where its values are not exact.
    """

    window: str = "7d"
    ndcg: float = 0.9
    rows: int = 100
    budget: int = 20_000

    def __post_init__(self) -> None:
        parse_duration(self.window)
        if not 0 < self.ndcg <= 1:
            raise DeclarationError(
                f"hs.Attributions(ndcg={self.ndcg!r}) is no agreement", remedy="Give one up to 1, as 0.9"
            )
        for name, least in (("rows", 10), ("budget", 100)):
            if getattr(self, name) < least:
                raise DeclarationError(
                    f"hs.Attributions({name}={getattr(self, name)!r}) explains nothing",
                    remedy=f"Give {least} or more",
                )
