"""Values in TensorBoard's events that are no numbers, in the messages of its first years and in tensors."""

from __future__ import annotations

from typing import Any, Final

from homeostat.adapters.sources.values import Shown, columns_of, histogram, image

_DOUBLE: Final = 2  # of TensorFlow's types
_FLOAT: Final = 1
_WHAT: Final = {"image": "images", "histo": "histograms", "audio": "sounds"}


def kind_of(value: Any, plugin: str) -> str:
    """What a value is that is no number, in the plural."""
    for name, text in _WHAT.items():
        if value.HasField(name):
            return text
    return f"values of {plugin or 'no known plugin'}"


def shown_of(value: Any, plugin: str) -> list[Shown]:
    """What a value shows here; empty where nothing here does.

    Args:
        value: The message.
        plugin: The part of TensorBoard that it is for.
    """
    key = str(value.tag)
    if value.HasField("image"):
        found = [image(key, value.image.encoded, width=value.image.width, height=value.image.height)]
    elif value.HasField("histo"):
        found = [_histogram(key, value.histo)]
    elif value.HasField("audio"):
        found = [_sound(key, value.audio.encoded, rate=value.audio.rate)]
    elif value.HasField("tensor"):
        found = _tensor(key, value.tensor, plugin)
    else:
        found = []
    return [one for one in found if one is not None] if all(found) else []


def _tensor(key: str, tensor: Any, plugin: str) -> list[Shown | None]:
    texts = list(tensor.string_val)
    match plugin:
        case "images" if len(texts) > 2 and texts[0].isdigit() and texts[1].isdigit():
            return [image(key, one, width=int(texts[0]), height=int(texts[1])) for one in texts[2:]]
        case "audio" if texts:
            return [_sound(key, one) for one in texts if one.startswith(b"RIFF")]
        case "text":
            return [
                Shown("text", key, {"text": one.decode("utf-8", "replace"), "markdown": True})
                for one in texts
            ]
        case "histograms" if tensor.dtype in (_FLOAT, _DOUBLE):
            columns = columns_of(tensor.tensor_content, "<f8" if tensor.dtype == _DOUBLE else "<f4", 3)
            if columns:
                left, right, counts = columns
                return [histogram(key, counts, [*left, right[-1]])]
    return []


def _histogram(key: str, told: Any) -> Shown | None:
    """Counts below limits; the outermost are as far out as floats go, so the least and greatest value stand in."""
    counts = list(told.bucket)
    edges = [told.min, *(min(max(limit, told.min), told.max) for limit in told.bucket_limit)]
    filled = [place for place, count in enumerate(counts) if count]
    if filled:  # the empty ones outside have no width
        counts, edges = counts[filled[0] : filled[-1] + 1], edges[filled[0] : filled[-1] + 2]
    mean = {"mean": told.sum / told.num} if told.num else {}
    return histogram(key, counts, edges, **mean)


def _sound(key: str, content: bytes, **detail: Any) -> Shown | None:
    sound = content.startswith(b"RIFF")
    return Shown("audio", key, {"caption": ""} | detail, suffix=".wav", content=content) if sound else None
