"""What other tools kept of training data: profiles of whylogs (``.bin``) and statistics of TensorFlow Data Validation.

A whylogs profile is ``WHY1``, two headers with their lengths, and a message a column; numbers are in a KLL sketch,
texts in one of frequent strings (`sketches`). TFDV's statistics are one message: as it is, as text, or as the one
record of a TFRecord file; numbers are in its histogram of quantiles (else the plain one), texts by rank.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np

from homeostat.adapters.messages import classes
from homeostat.adapters.sources.framing import tfrecords
from homeostat.adapters.sources.messages import parsed
from homeostat.adapters.sources.reading import damaged
from homeostat.adapters.sources.sketches import frequent, quantiles

_BINS: Final = 20
_VALUES: Final = 50
_MAGIC: Final = b"WHY1"
_WHYLOGS: Final = {
    "Head": "1 Properties properties, 2 Place* column_offsets, 5 Name* indexed_metric_paths",
    "Properties": "4 uint64 creation_timestamp",
    "Place": "1 string key, 2 Offsets value",
    "Offsets": "1 uint64* offsets",
    "Name": "1 uint32 key, 2 string value",
    "ChunkHead": "3 uint32 length",
    "Chunk": "1 Entry* metric_components",
    "Entry": "1 uint32 key, 2 Component value",
    "Component": "2 int64 n, 3 double d, 4 Sketch frequent_items, 6 Sketch kll",
    "Sketch": "1 bytes sketch",
}
_TFDV: Final = {
    "Statistics": "1 Dataset* datasets",
    "Dataset": "1 string name, 2 uint64 num_examples, 3 Feature* features",
    "Feature": "1 string name, 8 Path path, 3 Numeric num_stats, 4 Texts string_stats",
    "Path": "1 string* step",
    "Common": "1 uint64 num_non_missing, 2 uint64 num_missing, 8 uint64 tot_num_values",
    "Numeric": (
        "1 Common common_stats, 2 double mean, 3 double std_dev, 5 double min, 7 double max, 8 Histogram* histograms"
    ),
    "Histogram": "1 uint64 num_nan, 3 Bucket* buckets",
    "Bucket": "1 double low_value, 2 double high_value, 4 double sample_count",
    "Texts": "1 Common common_stats, 3 Value* top_values, 5 Ranks rank_histogram",
    "Value": "2 string value, 3 double frequency",
    "Ranks": "1 Rank* buckets",
    "Rank": "1 uint64 low_rank, 2 uint64 high_rank, 4 string label, 5 double sample_count",
}


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept of one column.

    Args:
        name: Its name.
        missing: Rows without a value.
        edges: Of a number: where bins begin, and the greatest value; empty of a text.
        values: Of a text: the most frequent; empty of a number.
        counts: Rows from each edge to the next, or with each value.
        other: Rows with another value.
        mean: Of a number.
        squares: The sum of squares about it.
    """

    name: str
    missing: int
    edges: list[float] = []
    values: list[str] = []
    counts: list[int] = []
    other: int = 0
    mean: float = 0.0
    squares: float = 0.0


def read_profile(path: Path) -> list[Kept]:
    """The columns of a whylogs profile or of TFDV's statistics; those that are neither numbers nor texts are left out.

    Raises:
        BadRequest: it is neither, or damaged.
        NotInstalled: protobuf is missing.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    try:
        found = [*(_whylogs(data) if data.startswith(_MAGIC) else _tfdv(path, data))]
    except (ValueError, IndexError, struct.error) as error:
        raise damaged(path, f"it is neither a whylogs profile nor statistics of TFDV: {error}") from error
    if not found:
        raise damaged(path, "it has neither numbers nor texts")
    return found


def _whylogs(data: bytes) -> Iterator[Kept]:
    kinds = classes("whylogs", _WHYLOGS, syntax="proto3", what="a whylogs profile", extra="import")
    file = io.BytesIO(data)
    file.seek(len(_MAGIC))
    file.seek(_varint(file), io.SEEK_CUR)  # a header of segments, of which a file has none
    head = _message(kinds["Head"], file.read(_varint(file)))
    names = {one.key: one.value for one in head.indexed_metric_paths}
    begin = file.tell()
    for place in head.column_offsets:
        parts: dict[str, Any] = {}
        for offset in place.value.offsets:
            file.seek(begin + offset)
            length = _message(kinds["ChunkHead"], file.read(_varint(file))).length
            chunk = _message(kinds["Chunk"], file.read(length))
            parts |= {names[one.key]: one.value for one in chunk.metric_components}
        if (kept := _column(place.key, parts)) is not None:
            yield kept


def _column(name: str, parts: dict[str, Any]) -> Kept | None:
    def count(of: str) -> int:
        return int(parts[of].n) if of in parts else 0

    rows, missing = count("counts/n"), max(count("counts/null"), count("counts/nan"))
    numbers, truths = count("types/fractional") + count("types/integral"), count("types/boolean")
    texts = count("types/string")
    if truths and truths >= max(numbers, texts):
        true = count("counts/true")
        by = {"false": truths - true, "true": true}
        return _texts(name, missing, by, rows - missing)
    if texts > numbers and "frequent_items/frequent_strings" in parts:
        by = frequent(parts["frequent_items/frequent_strings"].frequent_items.sketch)
        return _texts(name, missing, by, rows - missing)
    if not numbers or "distribution/kll" not in parts:
        return None
    values, weights = quantiles(parts["distribution/kll"].kll.sketch)
    distinct, at = np.unique(values, return_inverse=True)
    begins = distinct
    if len(distinct) > _BINS:
        places = np.searchsorted(np.cumsum(weights), np.arange(_BINS) / _BINS * weights.sum(), side="right")
        begins = np.unique(values[places])
    sums = np.bincount(at, weights)
    counts = np.add.reduceat(sums, np.searchsorted(distinct, begins))
    return Kept(
        name=name,
        missing=missing,
        edges=[*begins.tolist(), float(values[-1])],
        counts=[round(one) for one in counts.tolist()],
        mean=parts["distribution/mean"].d,
        squares=parts["distribution/m2"].d,
    )


def _tfdv(path: Path, data: bytes) -> Iterator[Kept]:
    kind = classes("tfdv", _TFDV, syntax="proto3", what="TFDV's statistics", extra="import")["Statistics"]
    from google.protobuf import text_format

    if data.lstrip().startswith(b"datasets"):
        try:
            found = text_format.Parse(data.decode(), kind(), allow_unknown_field=True)
        except text_format.ParseError as error:
            raise ValueError(str(error)) from error
    else:
        # The length of a TFRecord's one record stands in front of it.
        framed = len(data) > 16 and struct.unpack_from("<Q", data)[0] == len(data) - 16
        found = _message(kind, next(tfrecords(path, []), b"") if framed else data)
    for dataset in found.datasets[:1]:
        for feature in dataset.features:
            name = feature.name or ".".join(feature.path.step)
            if feature.HasField("num_stats") and feature.num_stats.histograms:
                yield _histogram(name, feature.num_stats)
            elif feature.HasField("string_stats"):
                stats = feature.string_stats
                by = {one.label: round(one.sample_count) for one in stats.rank_histogram.buckets}
                by = by or {one.value: round(one.frequency) for one in stats.top_values}
                common = stats.common_stats
                yield _texts(name, common.num_missing, by, common.tot_num_values or common.num_non_missing)


def _histogram(name: str, stats: Any) -> Kept:
    # Quantiles come after the plain histogram. A bucket holds what is above its lower end and up to its upper one, the
    # first also its lower end; a value that is that of many rows has several, over which its rows are spread.
    buckets = stats.histograms[-1].buckets
    counted: dict[float, float] = {}
    for bucket in buckets:
        counted[bucket.high_value] = counted.get(bucket.high_value, 0.0) + bucket.sample_count
    rows = round(sum(counted.values()))
    # Ours hold their lower end: they begin with the next value.
    whole = all(bucket.low_value.is_integer() and bucket.high_value.is_integer() for bucket in buckets)
    begins = [high + 1 if whole else math.nextafter(high, math.inf) for high in list(counted)[:-1]]
    return Kept(
        name=name,
        missing=stats.common_stats.num_missing + stats.histograms[-1].num_nan,
        edges=[buckets[0].low_value, *begins, stats.max] if buckets else [],
        counts=[round(one) for one in counted.values()],
        mean=stats.mean,
        squares=stats.std_dev**2 * rows,
    )


def _texts(name: str, missing: int, by: dict[str, int], rows: int) -> Kept:
    ordered = sorted(by, key=lambda value: (-by[value], value))[:_VALUES]
    counts = [by[value] for value in ordered]
    return Kept(name=name, missing=missing, values=ordered, counts=counts, other=max(rows - sum(counts), 0))


def _message(kind: Any, data: bytes) -> Any:
    found = parsed(kind, data)
    if found is None:
        raise ValueError("one of its messages is damaged")
    return found


def _varint(file: IO[bytes]) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("it is cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
