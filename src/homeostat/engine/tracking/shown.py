"""Values that are no numbers, as they are kept beside a run: where, and what each is in a line of words.

A value is a JSON file ``values/<name>/<step>-<milliseconds>-<number>.json`` with its type and what a page shows of it;
what has a form of its own, as an image has, lies in a file beside it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

FOLDER: Final = "values"
_PATH: Final = re.compile(rf"{FOLDER}/(?P<key>.+)/(?P<step>-?\d+)-(?P<at>\d+)-\d+\.json")
_LONGEST: Final = 60  # characters of a text
# What a detail raises that is not what its type has: whoever writes files may write one.
_ODD: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Kept(msgspec.Struct, frozen=True):
    """What every such JSON file holds.

    Args:
        type: What the value is.
        file: The path of the run's file that holds it; empty: the JSON does.
    """

    type: str
    file: str = ""


def place_of(path: str) -> tuple[str, int, int] | None:
    """The name, the step and the time (milliseconds since 1970) of a value; None where a path is of no value."""
    found = _PATH.fullmatch(path)
    return (found["key"], int(found["step"]), int(found["at"])) if found is not None else None


def told(type: str, detail: Mapping[str, Any]) -> str:
    """A value in a line of words; its type alone where the detail is not what that type has.

    Args:
        type: What it is.
        detail: What its JSON file holds.
    """
    try:
        return _WORDS[type](detail)
    except _ODD:
        return type


def rows_of(type: str, detail: Mapping[str, Any]) -> tuple[list[str], list[Sequence[Any]]]:
    """A value as columns and rows; none where it has no such form.

    Args:
        type: What it is.
        detail: What its JSON file holds.
    """
    try:
        match type:
            case "table":
                return [str(one["name"]) for one in detail["columns"]], list(detail["first"])
            case "histogram":
                bins = zip(itertools.pairwise(detail["edges"]), detail["counts"], strict=True)
                return ["from", "to", "count"], [(f"{a:.4g}", f"{b:.4g}", count) for (a, b), count in bins]
            case "confusion-matrix":
                classes = [str(one) for one in detail["classes"]]
                counts = zip(classes, detail["counts"], strict=True)
                return ["truth", *classes], [(one, *row) for one, row in counts]
            case "curve":
                return [str(one) for one in detail["axes"]], list(zip(detail["x"], detail["y"], strict=True))
            case _:
                return [], []
    except _ODD:
        return [], []


def _image(detail: Mapping[str, Any]) -> str:
    size = f" of {detail['width']:,} × {detail['height']:,}" if "width" in detail else ""
    return f"image{size}{_caption(detail)}"


def _audio(detail: Mapping[str, Any]) -> str:
    length = f" of {detail['seconds']:,.1f} s at {detail['rate']:,} Hz" if "seconds" in detail else ""
    return f"audio{length}{_caption(detail)}"


def _caption(detail: Mapping[str, Any]) -> str:
    caption = detail.get("caption", "")
    return f": {_cut(caption)}" if caption else ""


def _text(detail: Mapping[str, Any]) -> str:
    return f"text: {_cut(detail['text'])}"


def _table(detail: Mapping[str, Any]) -> str:
    names = ", ".join(str(column["name"]) for column in detail["columns"])
    return f"table of {detail['rows']:,} × {len(detail['columns']):,}: {_cut(names)}"


def _histogram(detail: Mapping[str, Any]) -> str:
    spread = f", {detail['min']:.4g} to {detail['max']:.4g}" if "min" in detail else ""
    middle = f", mean {detail['mean']:.4g}" if "mean" in detail else ""
    return f"histogram of {detail['count']:,.0f}{spread}{middle}"


def _confusion(detail: Mapping[str, Any]) -> str:
    counts = detail["counts"]
    total = sum(map(sum, counts))
    right = sum(row[place] for place, row in enumerate(counts))
    share = f", {right / total:.1%} right" if total else ""
    return f"confusion matrix of {len(detail['classes'])} classes, {total:,} answers{share}"


def _curve(detail: Mapping[str, Any]) -> str:
    x, y = detail["axes"]
    numbers = "".join(f", {name} {value:.4g}" for name, value in detail["summary"].items())
    return f"curve of {len(detail['x']):,} points, {y} by {x}{numbers}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "audio": _audio,
    "confusion-matrix": _confusion,
    "curve": _curve,
    "histogram": _histogram,
    "image": _image,
    "table": _table,
    "text": _text,
}
