"""Which columns of a fitted estimator hold texts: the names that it was fitted on do not say, but its encoders do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeostat.domain.contracts import Column


def texts(estimator: Any) -> Mapping[str, Column]:
    """The columns of texts by name, as far as encoders, imputers and vectorizers within ``estimator`` tell.

    One that knows its categories and refuses any other has them as choices. It may be missing where an imputer fills
    it, or where missing is a category.
    """
    found: dict[str, Column] = {}
    for column in _told(estimator):
        known = found.get(column.name)
        found[column.name] = Column(
            name=column.name,
            type="string",
            nullable=column.nullable or (known is not None and known.nullable),
            choices=column.choices or (known.choices if known is not None else None),
        )
    return found


def _told(estimator: Any) -> Iterator[Column]:
    for names, one in _parts(estimator, (), set()):
        if hasattr(one, "vocabulary_"):
            yield from (Column(name=name, type="string") for name in names)
            continue
        kept = getattr(one, "statistics_", ())
        if len(kept) == len(names):
            filled = [name for name, value in zip(names, kept, strict=True) if isinstance(value, str)]
            yield from (Column(name=name, type="string", nullable=True) for name in filled)
        kept = getattr(one, "categories_", ())
        if len(kept) == len(names):
            for name, values in zip(names, kept, strict=True):
                words = tuple(str(value) for value in values if isinstance(value, str))
                if words:
                    choices = words if getattr(one, "handle_unknown", "") == "error" else None
                    missing = len(words) < len(values)
                    yield Column(name=name, type="string", nullable=missing, choices=choices)


def _parts(one: Any, names: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """An estimator and those that it was fitted with, each with the names of the columns that it was given."""
    if id(one) in seen:
        return
    seen.add(id(one))
    if isinstance(one, list | tuple):
        if len(one) == 3 and hasattr(one[1], "get_params") and isinstance(one[2], str):
            names = (one[2],)  # what a transformer of columns gives its part as one column
        for part in one:
            yield from _parts(part, names, seen)
    elif hasattr(one, "get_params"):
        names = tuple(map(str, getattr(one, "feature_names_in_", names)))
        yield names, one
        for part in vars(one).values():
            yield from _parts(part, names, seen)
