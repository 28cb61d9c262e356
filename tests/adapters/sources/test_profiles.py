"""Profiles of whylogs and statistics of TFDV are read as those libraries wrote them; anything else is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from homeostat.adapters.sources.profiles import Kept, read_profile
from homeostat.adapters.sources.sketches import frequent, quantiles
from homeostat.domain.errors import BadRequest
from tests.adapters.sources.places import unpacked

NAMES = ("whylogs.bin", "tfdv.pb", "tfdv.pbtxt")
# What ``data/make_profiles.py`` drew: 5,000 rows.
TEXTS = {"a": 1888, "b": 1128, "c": 734}
SMALL = [259, 707, 1121, 1148, 818, 529, 246, 110, 46, 11, 5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("profiles", tmp_path_factory.mktemp("profiles"))


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_those_of_the_rows(folder: Path, name: str) -> None:
    found = {one.name: one for one in read_profile(folder / name)}
    x, c = found["x"], found["c"]
    assert dict(zip(c.values, c.counts, strict=True)) == TEXTS
    assert (c.missing, c.other) == (1250, 0)
    assert (x.missing, sum(x.counts)) == (500, 4500)
    assert x.mean == pytest.approx(-0.001742, abs=1e-5)
    assert x.squares / 4500 == pytest.approx(0.995148**2, rel=1e-3)
    assert (x.edges[0], x.edges[-1]) == pytest.approx((-3.899422, 3.257199), abs=1e-5)
    assert sorted(x.edges) == x.edges
    assert len(x.edges) == len(x.counts) + 1
    assert np.median(x.edges) == pytest.approx(-0.029256, abs=0.05)
    below: Callable[[Kept, float], int] = lambda one, value: sum(  # noqa: E731
        count for edge, count in zip(one.edges, one.counts, strict=False) if edge < value
    )
    assert below(found["n"], 3) == pytest.approx(sum(SMALL[:3]), rel=0.02)
    assert "b" in found


@pytest.mark.parametrize("name", NAMES[1:])
def test_whole_numbers_are_counted_where_they_are(folder: Path, name: str) -> None:
    (found,) = (one for one in read_profile(folder / name) if one.name == "n")
    assert found.edges == [0, 2, 3, 4, 5, 6, 10]
    assert found.counts == [sum(SMALL[:2]), *SMALL[2:6], sum(SMALL[6:])]


def test_truths_are_told_apart(folder: Path) -> None:
    (found,) = (one for one in read_profile(folder / "whylogs.bin") if one.name == "b")
    assert (found.values, found.counts) == (["false", "true"], [3479, 1521])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_what_is_cut_off_is_refused_or_read_without_a_crash(
    folder: Path, tmp_path: Path, name: str, share: float
) -> None:
    whole = (folder / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadRequest, match=name):
        read_profile(cut)


@pytest.mark.parametrize(
    "data", [b"", b"a,b\n1,2\n", b"WHY1", b"WHY1" + b"\xff" * 40, b"datasets { nothing: }"]
)
def test_what_is_no_profile_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rows").write_bytes(data)
    with pytest.raises(BadRequest, match="rows"):
        read_profile(tmp_path / "rows")
    with pytest.raises(BadRequest, match="missing"):
        read_profile(tmp_path / "missing")


def test_statistics_in_a_record_are_those_without(folder: Path, tmp_path: Path) -> None:
    data = (folder / "tfdv.pb").read_bytes()
    length = struct.pack("<Q", len(data))
    record = tmp_path / "stats_tfrecord"
    record.write_bytes(length + masked(length) + data + masked(data))
    assert read_profile(record) == read_profile(folder / "tfdv.pb") == read_profile(folder / "tfdv.pbtxt")


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_sketches_of_nothing_and_of_one_value() -> None:
    assert quantiles(bytes.fromhex("02010f0100040800"))[0].tolist() == []
    values, weights = quantiles(bytes.fromhex("02020f0400040800") + np.float64(1.5).tobytes())
    assert (values.tolist(), weights.tolist()) == ([1.5], [1.0])
    assert frequent(bytes.fromhex("01010a0000000500")) == {}
    with pytest.raises(ValueError, match="no such sketch"):
        quantiles(b"nothing at all")
