"""Requests to review, wired: those of a window that are the least like the training of the version that answered."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.app.outcomes import log_of
from homeostat.app.registry.pointers import champion_version
from homeostat.app.traffic import Traffic
from homeostat.domain.durations import parse_duration
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.records import Dataset
from homeostat.engine.monitoring.outliers import Odd, outliers
from homeostat.engine.monitoring.reference import SCORE, Reference
from homeostat.engine.registry.package import REFERENCE

_MOST: Final = 10_000


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction to look at.

    Args:
        prediction: Its reference.
        at: When it was answered.
        answered: Its score.
        score: How unlike training its features are, in nats.
        why: The values that are the rarest.
    """

    prediction: str
    at: datetime
    answered: float | None
    score: float
    why: list[Odd]


def to_review(container: Container, name: str, *, window: str = "7d", limit: int = 20) -> list[Reviewed]:
    """The champion's requests that are the least like its training, the strangest first.

    Raises:
        NotFound: nothing of this name serves, or nothing was asked of it.
        BadRequest: the limit is none.
    """
    if not 1 <= limit <= _MOST:
        raise BadRequest(f"the limit is {limit}", field="limit", remedy=f"Give from 1 to {_MOST:,}")
    version = champion_version(container.store, name)
    if version is None or container.store.get(Dataset, log_of(name)) is None:
        raise NotFound(
            f"nothing was asked of deployment/{name} yet", remedy="homeostat status shows what serves"
        )
    against = Reference.read(msgspec.json.decode(container.blobs.get(version.manifest["files"][REFERENCE])))
    since = container.clock.now() - parse_duration(window)
    own = pl.col("version") == version.version, pl.col("score").is_not_null()
    log = Traffic(container, name, pl.col("at") > since, *own)
    names = [one for one in against.features if one in log.columns and one != SCORE]
    found: list[Reviewed] = []
    for part in log.parts():
        for one in outliers(against, part.select(names), limit):
            row = part.row(one.row, named=True)
            found.append(
                Reviewed(
                    prediction=f"prediction/{row['prediction_id']}",
                    at=row["at"],
                    answered=row["score"],
                    score=one.score,
                    why=one.why,
                )
            )
        found = sorted(found, key=lambda one: -one.score)[:limit]
    return found
