"""Values that are no numbers, as they are kept, beside independent implementations."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

import homeostat as hs
from homeostat.domain.errors import BadRequest
from homeostat.sdk.tracking.values import value_of


def decoded(png: bytes) -> Any:
    """The pixels of a PNG without filters; each chunk's CRC is checked."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        at += 12 + length
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    channels = {0: 1, 2: 3, 6: 4}[colour]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * channels)
    assert depth == 8
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape((height, width, channels) if channels > 1 else (height, width))


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4])
)


@settings(deadline=None)
@given(shapes.flatmap(lambda shape: arrays.arrays(np.uint8, shape)))
def test_pixels_come_back_from_png(pixels: Any) -> None:
    told = hs.Image(pixels, caption="c").told()
    assert np.array_equal(decoded(told.content), pixels)
    assert told.detail == {"caption": "c", "width": pixels.shape[1], "height": pixels.shape[0]}


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        ([[0.0, 0.5], [1.0, 2.0]], [[0, 128], [255, 255]]),
        ([[-1.0, math.nan]], [[0, 0]]),
        ([[True, False]], [[255, 0]]),
        ([[300, -5, 7]], [[255, 0, 7]]),
        (np.ones((1, 2, 1)), [[255, 255]]),
    ],
)
def test_images_of_other_numbers(data: Any, pixels: Any) -> None:
    assert decoded(hs.Image(data).told().content).tolist() == pixels


def test_image_files_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.JPG").write_bytes(b"jpeg")
    told = hs.Image(tmp_path / "a.JPG").told()
    assert (told.suffix, told.content) == (".jpg", b"jpeg")
    for wrong in (tmp_path / "a.txt", np.zeros(3), np.zeros((2, 2, 2)), np.zeros((0, 4))):
        with pytest.raises(BadRequest):
            hs.Image(wrong).told()


def test_sound() -> None:
    told = hs.Audio(np.array([[0.0, 1.0], [-1.0, 0.5], [2.0, np.nan]]), rate=2, caption="c").told()
    with wave.open(io.BytesIO(told.content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (
            2,
            2,
            2,
            3,
        )
        samples = np.frombuffer(file.readframes(3), "<i2").tolist()
    assert samples == [0, 32767, -32767, 16384, 32767, 0]
    assert told.detail == {"caption": "c", "rate": 2, "seconds": 1.5}
    with pytest.raises(BadRequest):
        hs.Audio(np.zeros((2, 2, 2)), rate=1).told()


def test_a_histogram_counts_what_is_no_number_apart() -> None:
    detail = hs.Histogram([[1.0, 2.0], [3.0, math.nan], [math.inf, 3.0]], bins=2).told().detail
    assert detail["counts"] == [1, 3]
    assert detail["edges"] == [1.0, 2.0, 3.0]
    assert (detail["count"], detail["other"], detail["mean"], detail["min"], detail["max"]) == (
        6,
        2,
        2.25,
        1.0,
        3.0,
    )
    assert hs.Histogram([math.nan]).told().detail == {"counts": [], "edges": [], "count": 1, "other": 1}


@pytest.mark.parametrize(
    "data",
    [
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pl.LazyFrame({"a": [1, 2], "b": ["x", None]}),
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pa.table({"a": [1, 2], "b": ["x", None]}),
        [{"a": 1, "b": "x"}, {"a": 2, "b": None}],
    ],
    ids=["polars", "lazy", "pandas", "arrow", "mappings"],
)
def test_tables_of_every_library(data: Any) -> None:
    found = value_of(data) or hs.Table(data)
    told = found.told()
    assert told.type == "table"
    assert pl.read_parquet(told.content).rows() == [(1, "x"), (2, None)]
    assert told.detail["rows"] == 2
    assert [column["name"] for column in told.detail["columns"]] == ["a", "b"]
    assert told.detail["first"] == [[1, "x"], [2, None]]


def test_what_makes_no_table() -> None:
    with pytest.raises(BadRequest, match="no table"):
        hs.Table(3).told()


classes = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30)


@settings(deadline=None)
@given(classes)
def test_confusion_as_scikit_learn_counts_it(pairs: list[tuple[str, str]]) -> None:
    truth, predicted = zip(*pairs, strict=True)
    detail = hs.ConfusionMatrix(truth, predicted, classes="abc").told().detail
    assert detail["counts"] == confusion_matrix(truth, predicted, labels=["a", "b", "c"]).tolist()
    assert hs.ConfusionMatrix(truth, predicted).told().detail["classes"] == sorted({*truth, *predicted})
    few = hs.ConfusionMatrix(truth, predicted, classes=["a"]).told().detail
    assert few["counts"][0][0] + few["other"] == len(pairs)


scored = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


@settings(deadline=None)
@given(scored)
def test_curves_as_scikit_learn_computes_them(pairs: list[tuple[bool, int]]) -> None:
    truth, scores = [label for label, _ in pairs], [score / 8 for _, score in pairs]
    roc = hs.Curve.roc(truth, scores)
    assert roc.summary["auc"] == pytest.approx(roc_auc_score(truth, scores))
    precision_recall = hs.Curve.precision_recall(truth, scores)
    assert precision_recall.summary["average_precision"] == pytest.approx(
        average_precision_score(truth, scores)
    )
    for curve in (roc, precision_recall, hs.Curve.calibration(truth, scores)):
        told = curve.told().detail
        assert len(told["x"]) == len(told["y"])
        assert all(0 <= value <= 1 for value in (*told["x"], *told["y"]))


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    detail = hs.Curve(range(10_000), [float(n) for n in range(10_000)]).told().detail
    assert (len(detail["x"]), detail["x"][0], detail["x"][-1]) == (1000, 0.0, 9999.0)
    assert hs.Curve([1], [math.nan]).told().detail["y"] == ["nan"]
    with pytest.raises(BadRequest):
        hs.Curve([1, 2], [1]).told()


def test_what_is_known_and_what_is_not() -> None:
    text = value_of("some text")
    assert text is not None
    assert text.told().detail == {"text": "some text", "markdown": False}
    assert value_of(hs.Image([[0]])) is not None
    for thing in (np.zeros(3), object(), {1, 2}, None):
        assert value_of(thing) is None
