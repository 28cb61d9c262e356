"""A pickle is read only where the project allows it by name; what it would do is found without doing it."""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from scipy.io import netcdf_file
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import NotInstalled, Unsafe
from homeostat.engine.registry.formats import pickles, scans
from tests.engine.registry.packing import Marker, X, Y, loaded, packed

ALLOWED = [pickles.ALLOWED]
FULL = X.fill_null(0).to_numpy()


class Halves:
    """What skops cannot keep: a complex number among its attributes."""

    def __init__(self) -> None:
        self.classes_ = [0, 1]
        self.rest = 1j

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), 2), 0.5)


NAMES = [f"{__name__}.Halves"]


def joblibbed(model: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


MODELS: dict[str, Any] = {
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(5, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=4, random_state=0),
    "histogram": HistGradientBoostingClassifier(max_iter=4),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("write", [pickle.dumps, cloudpickle.dumps, joblibbed])
def test_an_allowed_pickle_of_known_types_comes_back(name: str, write: Any) -> None:
    model = MODELS[name].fit(FULL, Y)
    data = write(model)
    with pytest.raises(Unsafe, match=r"runs code when it is read, and nobody allowed it; it names.*sklearn"):
        pickles.restore(data, ())
    found = pickles.restore(data, ALLOWED)
    np.testing.assert_array_equal(found.predict_proba(FULL), model.predict_proba(FULL))


@pytest.mark.parametrize("write", [pickle.dumps, joblibbed])
def test_arrays_of_objects_are_read_by_the_same_rules(write: Any, tmp_path: Path) -> None:
    encoder = OneHotEncoder().fit(np.array([["a"], ["b"]], object))
    found = pickles.restore(write(encoder), ALLOWED)
    assert found.categories_[0].tolist() == ["a", "b"]
    marker = tmp_path / "ran"
    encoder.categories_ = [np.array([Marker(marker)], object)]
    with pytest.raises(Unsafe, match=r"posix\.system"):
        pickles.restore(write(encoder), ALLOWED)
    assert not marker.exists()


def test_a_model_that_skops_cannot_hold_is_kept_where_pickles_are_allowed() -> None:
    with pytest.raises(Unsafe):
        packed(Halves())
    with pytest.raises(Unsafe, match=r"Halves.*which nobody allowed"):
        packed(Halves(), ALLOWED)
    files = packed(Halves(), [*ALLOWED, *NAMES])
    assert pickles.FILE in files
    assert loaded(files, [*ALLOWED, *NAMES]).predict(X).tolist() == [0.5] * 300
    for trusted in ([], NAMES, ALLOWED):
        with pytest.raises(Unsafe, match="nobody allowed"):
            loaded(files, trusted)


def test_one_file_can_be_allowed_by_its_digest() -> None:
    data = cloudpickle.dumps(lambda x: x + 1)
    for trusted in (
        (),
        ALLOWED,
    ):  # what it makes and calls has no name: only the file as a whole can be allowed
        with pytest.raises(Unsafe, match=rf"_make_function.*{digest_bytes(data)}") as refused:
            pickles.restore(data, trusted)
        assert refused.value.names == (digest_bytes(data),)
    assert pickles.restore(data, [digest_bytes(data)])(1) == 2
    with pytest.raises(Unsafe, match="nobody allowed"):
        pickles.restore(cloudpickle.dumps(lambda x: x + 2), [digest_bytes(data)])


class Reduced:
    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return self.what


def hostile(marker: Path) -> dict[str, bytes]:
    touch = f"open({str(marker)!r}, 'w')"
    inner = pickle.dumps(Marker(marker))
    return {
        "command": inner,
        "protocol 0": pickle.dumps(Marker(marker), protocol=0),
        "in a list": pickle.dumps([1, {"a": (Marker(marker),)}]),
        "eval": pickle.dumps(Reduced(eval, (touch,))),
        "exec": pickle.dumps(Reduced(exec, (touch,))),
        "pickle in a pickle": pickle.dumps(Reduced(pickle.loads, (inner,))),
        "by getattr": b"cbuiltins\ngetattr\n(cos\npath\nVsystem\ntR(V"
        + f"touch {marker}".encode()
        + b"\ntR.",
        "inst": b"(S'touch " + str(marker).encode() + b"'\nios\nsystem\n.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + _short(f"touch {marker}") + b"\x85R.",
        "after the end": pickle.dumps(1) + inner,
        "in joblib": joblibbed([np.arange(3), Marker(marker)]),
        "in an array of joblib": joblibbed([np.array([Marker(marker)], object)]),
        "by the name of a module": b"cnumpy\nlib._npyio_impl.os.system\n(V"
        + f"touch {marker}".encode()
        + b"\ntR.",
        "a known class that opens a file": pickle.dumps(Reduced(netcdf_file, (str(marker), "w"))),
        "the same by the base of a bare object": b"ccopyreg\n_reconstructor\n"
        b"(csklearn.base\nBaseEstimator\ncscipy.io._netcdf\nnetcdf_file\nV" + str(marker).encode() + b"\ntR.",
        "the same as an instance": b"(Vx\niscipy.io._netcdf\nnetcdf_file\n.",
        "an object with a call": b"\x80\x04cnumpy\nvectorize\n)\x81}\x8c\x06pyfunccscipy.io._netcdf\nnetcdf_file\nsb"
        + b"\x8c"
        + _short(str(marker))
        + b"\x8c\x01w\x86R.",
        "by state": b"\x80\x04csklearn.base\nBaseEstimator\n)\x81}\x8c\x01acos\nsystem\n\x8c"
        + _short(f"touch {marker}")
        + b"\x85Rsb.",
    }


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


@pytest.mark.parametrize("name", hostile(Path("/x")))
@pytest.mark.parametrize("trusted", [[], ALLOWED, [*ALLOWED, "sklearn.base.BaseEstimator"]])
def test_a_hostile_pickle_does_nothing(name: str, trusted: list[str], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    data = hostile(marker)[name]
    with pytest.raises(Unsafe):
        pickles.restore(data, trusted)
    files = packed(MODELS["pipeline"].fit(FULL, Y))
    del files["model.skops"]
    with pytest.raises(Unsafe):
        loaded(files | {pickles.FILE: data}, trusted)
    assert not marker.exists()


def test_what_fickling_calls_malicious_is_refused_though_its_names_are_allowed(tmp_path: Path) -> None:
    data = hostile(tmp_path / "ran")["eval"]
    with pytest.raises(Unsafe, match="made to harm"):
        pickles.restore(data, [*ALLOWED, "builtins.eval"])
    assert not (tmp_path / "ran").exists()


def test_a_torn_or_altered_pickle_is_refused() -> None:
    data = pickle.dumps(MODELS["pipeline"].fit(FULL, Y))
    for part in (b"", data[:-1], data[: len(data) // 2], data + b"x", b"no pickle at all"):
        with pytest.raises(Unsafe):
            pickles.restore(part, ALLOWED)
    whole = joblibbed(MODELS["forest"].fit(FULL, Y))
    for part in (whole[:-1], whole[: len(whole) // 2]):
        with pytest.raises(Unsafe):
            pickles.restore(part, ALLOWED)


def test_a_tree_that_points_outside_is_refused_in_a_pickle_too() -> None:
    forest = RandomForestClassifier(2, random_state=0).fit(FULL, Y)
    state = forest.estimators_[0].tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["left_child"][0] = 10_000
    forest.estimators_[0].tree_.__setstate__(state)
    with pytest.raises(Unsafe, match="points outside"):
        pickles.restore(pickle.dumps(forest), ALLOWED)


def test_a_scan_names_everything_and_calls_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    assert scans.scan(hostile(marker)["in a list"], "x").names == {"posix.system"}
    found = scans.scan(hostile(marker)["in an array of joblib"], "x")
    assert "posix.system" in found.names
    assert len(found.instructions) == 2
    assert not marker.exists()


def test_without_fickling_no_pickle_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fickling.fickle", None)
    data = pickle.dumps(MODELS["pipeline"].fit(FULL, Y))
    with pytest.raises(NotInstalled, match=r"homeostat\[pickle\]"):
        pickles.restore(data, ALLOWED)
    with pytest.raises(Unsafe, match="nobody allowed"), warnings.catch_warnings():
        pickles.restore(data, ())
