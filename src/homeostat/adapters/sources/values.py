"""Images, tables, histograms, sounds and texts that another tracker kept, in the form that ``hs.log`` gives them.

That is a JSON file under ``values/<name>/``, which says what it is, where, and which file holds the rest.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from homeostat.ports.sources import SourceFile

_FIRST: Final = 100  # rows of a table that its JSON shows
_AT_ONCE: Final = 10_000  # values of a name that a log has of one step and millisecond: fewer
_KINDS: Final = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp"}


@dataclass(frozen=True)
class Shown:
    """A value that is no number.

    Args:
        type: What it is: ``image``, ``table``, ``histogram``, ``audio``, ``plotly`` or ``text``.
        key: The name under which it was logged.
        detail: What a page shows.
        file: The path of the run's file that holds it; empty: there is none, or ``content`` is it.
        suffix: The kind of file that ``content`` is.
        content: The bytes of a file that the source has no file for.
    """

    type: str
    key: str
    detail: dict[str, Any] = field(default_factory=dict)
    file: str = ""
    suffix: str = ""
    content: bytes = b""


def value_files(values: Iterable[tuple[Shown, int, int]], part: int = 0) -> Iterator[SourceFile]:
    """The files of values.

    A name depends on no value of another name, so that a later import of a log that grew meanwhile finds what came.

    Args:
        values: Each with its step and its time, in milliseconds since 1970, which does not go back.
        part: Which of the logs of a run they are of, where it has several that grow at once.
    """
    met: dict[str, tuple[int, Counter[int]]] = {}  # by name, the last time and how many of it a step has
    for shown, step, at in values:
        last, count = met.get(shown.key, (at, Counter[int]()))
        if last != at:
            count = Counter()
        count[step] += 1
        met[shown.key] = at, count
        stem = f"values/{shown.key}/{step:012d}-{at}-{part * _AT_ONCE + count[step]:04d}"
        told: dict[str, Any] = {"type": shown.type, "key": shown.key, "step": step, "at": at}
        if shown.content:
            told["file"] = f"{stem}{shown.suffix}"
            yield _file(told["file"], shown.content)
        elif shown.file:
            told["file"] = shown.file
        yield _file(f"{stem}.json", msgspec.json.encode(told | shown.detail))


def histogram(key: str, counts: Sequence[float], edges: Sequence[float], **more: float) -> Shown | None:
    """A histogram; None where its edges are not one more than its counts, or no numbers."""
    if not counts or len(edges) != len(counts) + 1 or not all(map(math.isfinite, (*counts, *edges))):
        return None
    detail = {"counts": list(counts), "edges": list(edges), "count": sum(counts), "other": 0}
    return Shown("histogram", key, detail | {"min": edges[0], "max": edges[-1]} | more)


def image(key: str, content: bytes, **detail: Any) -> Shown | None:
    """An image in a form that a page shows; None where it is another one."""
    suffix = next((suffix for start, suffix in _KINDS.items() if content.startswith(start)), "")
    return Shown("image", key, {"caption": ""} | detail, suffix=suffix, content=content) if suffix else None


def table(key: str, columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Shown | None:
    """Rows as a table, cells that are neither numbers nor texts as JSON; None where they are none."""
    import polars as pl

    names = [str(name) for name in columns]
    if len(set(names)) != len(names) or any(len(row) != len(names) for row in rows):
        return None
    cells = [[_text(cell) for cell in row] for row in rows]
    try:
        frame = pl.DataFrame(cells, names, orient="row", strict=False, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        return None
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    described = [{"name": name, "type": str(kind)} for name, kind in frame.schema.items()]
    detail = {
        "columns": described,
        "rows": frame.height,
        "first": [list(map(_plain, row)) for row in cells[:_FIRST]],
    }
    return Shown("table", key, detail, suffix=".parquet", content=buffer.getvalue())


def _text(cell: Any) -> Any:
    return msgspec.json.encode(cell).decode() if isinstance(cell, (dict, list)) else cell


def _plain(cell: Any) -> Any:
    """A cell as JSON holds it."""
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def _file(path: str, content: bytes) -> SourceFile:
    return SourceFile(path, len(content), lambda: iter((content,)))


def columns_of(content: bytes, dtype: str, width: int) -> list[list[float]]:
    """Columns of a tensor of ``width`` columns, row by row in its bytes; none where it has another form."""
    if not content or len(content) % (np.dtype(dtype).itemsize * width):
        return []
    found: list[list[float]] = np.frombuffer(content, dtype).reshape(-1, width).astype(float).T.tolist()
    return found
