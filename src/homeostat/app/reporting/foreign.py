"""What another tool kept of training data, as a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from homeostat.adapters.sources.profiles import Kept, read_profile
from homeostat.engine.monitoring.reference import Bins, Categories, Numbers, Reference
from homeostat.engine.monitoring.summary import Moments, Summary


def foreign(path: Path) -> Reference:
    """The reference that a whylogs profile or TFDV's statistics make; how neighbouring rows depend on one another is
    not in them, nor are seasons.

    Raises:
        BadRequest: the file is neither.
        NotInstalled: a library that reads it is missing.
    """
    kept = read_profile(path)
    rows = max(one.missing + sum(one.counts) + one.other for one in kept)
    summaries = {one.name: Summary(_moments(one)) for one in kept if one.edges}
    return Reference(rows, {one.name: _bins(one) for one in kept}, summaries=summaries)


def named(known: Reference, columns: Sequence[str]) -> Reference:
    """The reference with the names that features have in the log: ``age`` stands for ``customer__age``."""
    places = {name: _place(name, columns) for name in known.features}
    return Reference(
        known.rows,
        {places[name]: bins for name, bins in known.features.items()},
        summaries={places[name]: summary for name, summary in known.summaries.items()},
    )


def _place(name: str, columns: Sequence[str]) -> str:
    if name in columns:
        return name
    same = [one for one in columns if one.partition("__")[2] == name]
    return same[0] if len(same) == 1 else name


def _bins(one: Kept) -> Bins:
    if one.edges:
        edges = [*one.edges[:-1], math.nextafter(one.edges[-1], math.inf)]
        return Numbers(edges, [one.missing, 0, *one.counts, 0])
    return Categories(one.values, [one.missing, *one.counts, one.other])


def _moments(one: Kept) -> Moments:
    return Moments(sum(one.counts), one.mean, one.squares, one.edges[0], one.edges[-1])
