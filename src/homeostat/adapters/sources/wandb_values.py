"""Values in W&B's log that are no numbers. What they hold lies in the run's files, or in the log itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from homeostat.adapters.sources.values import Shown, histogram, table

_FILES: Final = {"image-file": "image", "audio-file": "audio", "plotly-file": "plotly"}
_DETAILS: Final = ("caption", "width", "height")


def media_of(row: dict[str, Any], parent: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The values of a row that have a type of W&B's, by their names with dots."""
    for key, value in row.items():
        name = f"{parent}.{key}" if parent else key
        if isinstance(value, dict):
            if "_type" in value:
                yield name, value
            else:
                yield from media_of(value, name)


def shown_of(key: str, value: dict[str, Any], folder: Path) -> list[Shown]:
    """What a typed value of W&B shows here; empty where nothing here does.

    Args:
        key: Its name.
        value: What the log says of it.
        folder: The run's files.
    """
    made = _MADE.get(str(value.get("_type")))
    found = [_held(one, folder) for one in made(key, value, folder)] if made else []
    return [one for one in found if one is not None] if all(found) else []


def _held(shown: Shown | None, folder: Path) -> Shown | None:
    """A value whose file is there."""
    if shown is None or not shown.file:
        return shown
    path = (folder / shown.file).resolve()
    return shown if path.is_relative_to(folder.resolve()) and path.is_file() else None


def _one(key: str, value: dict[str, Any], folder: Path) -> list[Shown | None]:
    detail = {"caption": ""} | {name: value[name] for name in _DETAILS if value.get(name) is not None}
    return [Shown(_FILES[value["_type"]], key, detail, file=str(value.get("path", "")))]


def _many(key: str, value: dict[str, Any], folder: Path) -> list[Shown | None]:
    names, captions = value.get("filenames"), value.get("captions")
    if not isinstance(names, list):
        return [None]
    told = captions if isinstance(captions, list) and len(captions) == len(names) else [""] * len(names)
    size = {name: value[name] for name in ("width", "height") if value.get(name) is not None}
    return [
        Shown("image", key, size | {"caption": str(caption or "")}, file=str(name))
        for name, caption in zip(names, told, strict=True)
    ]


def _sounds(key: str, value: dict[str, Any], folder: Path) -> list[Shown | None]:
    return [
        shown
        for one in value.get("audio") or [{}]
        for shown in (_one(key, one, folder) if one.get("_type") in _FILES else [None])
    ]


def _histogram(key: str, value: dict[str, Any], folder: Path) -> list[Shown | None]:
    edges, packed = value.get("bins"), value.get("packedBins")
    try:
        if packed is not None:
            edges = [packed["min"] + packed["size"] * place for place in range(int(packed["count"]) + 1)]
        numbers = msgspec.convert((value.get("values"), edges), tuple[list[float], list[float]])
    except (KeyError, TypeError, msgspec.ValidationError):
        return [None]
    return [histogram(key, *numbers)]


def _table(key: str, value: dict[str, Any], folder: Path) -> list[Shown | None]:
    path = (folder / str(value.get("path", ""))).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return [None]
    try:
        # W&B writes NaN and infinities bare, as Python's own reader takes them.
        read = msgspec.convert(json.loads(path.read_bytes()), _Table)
    except (ValueError, msgspec.ValidationError):
        return [None]
    return [table(key, read.columns, read.data)]


class _Table(msgspec.Struct):
    columns: list[Any]
    data: list[list[Any]]


_MADE: Final[dict[str, Callable[[str, dict[str, Any], Path], list[Shown | None]]]] = {
    "image-file": _one,
    "images/separated": _many,
    "audio-file": _one,
    "audio": _sounds,
    "plotly-file": _one,
    "histogram": _histogram,
    "table-file": _table,
}
