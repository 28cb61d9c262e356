"""A package comes back as it was; one that was altered or holds unknown code does not come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from homeostat.domain.contracts import Column
from homeostat.domain.declarations.base import PROJECT_MODULE
from homeostat.domain.errors import BadScores, NotFound, Unsafe
from homeostat.engine.registry import package
from homeostat.engine.registry.formats import scikit
from homeostat.engine.registry.formats.base import allow
from homeostat.engine.registry.package import Signature
from homeostat.engine.registry.safety import check_trees, is_known
from tests.engine.registry.packing import Kept

RNG = np.random.default_rng(3)
X = pl.DataFrame(RNG.normal(size=(400, 3)), schema=["a", "b", "c"])
Y = (RNG.random(400) < 1 / (1 + np.exp(-X["a"].to_numpy()))).astype(np.int8)
SIGNATURE = Signature(
    features=tuple(Column(name=name, type="float") for name in X.columns),
    request=(Column(name="id", type="string"),),
    key=("id",),
    time=None,
    views=("feature-view/weather@1",),
    label="late",
)


class Oracle(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator of a project's own."""

    def fit(self, X: Any, y: Any) -> Oracle:
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), 2), 0.5)


def packed(estimator: Any, **options: Any) -> dict[str, bytes]:
    return package.pack(
        estimator, SIGNATURE, environment="numpy==2\n", example={"id": "x"}, reference={"rows": 1}, **options
    )


ESTIMATORS = {
    "hist": HistGradientBoostingClassifier(max_iter=5),
    "forest": RandomForestClassifier(5, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "calibrated": CalibratedClassifierCV(HistGradientBoostingClassifier(max_iter=5), cv=2),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_package_predicts_as_the_estimator_did(name: str) -> None:
    estimator, blobs = ESTIMATORS[name].fit(X, Y), Kept()
    manifest = package.store(blobs, packed(estimator, extra={"report.json": b"{}"}))
    found = package.load(blobs, manifest, expect=package.digest(manifest))
    np.testing.assert_array_equal(found.predict(X), estimator.predict_proba(X)[:, 1])
    assert found.signature == SIGNATURE
    assert found.example == {"id": "x"}
    assert found.reference == {"rows": 1}
    assert found.environment == "numpy==2\n"
    assert found.files["report.json"] == b"{}"


@pytest.mark.parametrize("file", [scikit.FILE, package.SIGNATURE, package.REFERENCE])
def test_an_altered_or_missing_file_is_refused(file: str) -> None:
    blobs = Kept()
    manifest = package.store(blobs, packed(ESTIMATORS["pipeline"].fit(X, Y)))
    where = manifest["files"][file]
    whole = blobs.data[where]
    blobs.data[where] = whole[:-1]
    with pytest.raises(Unsafe, match=file):
        package.load(blobs, manifest)
    del blobs.data[where]
    with pytest.raises(NotFound):
        package.load(blobs, manifest)


@pytest.mark.parametrize("file", [package.SIGNATURE, package.EXAMPLE, package.REFERENCE])
@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_file_of_another_form_is_refused(file: str, data: bytes) -> None:
    blobs = Kept()
    manifest = package.store(blobs, packed(ESTIMATORS["pipeline"].fit(X, Y)) | {file: data})
    with pytest.raises(Unsafe, match=f"{file} of the package"):
        package.load(blobs, manifest)


def test_another_manifest_is_refused() -> None:
    blobs = Kept()
    manifest = package.store(blobs, packed(ESTIMATORS["pipeline"].fit(X, Y)))
    digest = package.digest(manifest)
    changed = {"files": {**manifest["files"], package.EXAMPLE: blobs.put(b'{"id":"y"}')}}
    with pytest.raises(Unsafe, match="the manifest has digest"):
        package.load(blobs, changed, expect=digest)
    without = {"files": {k: v for k, v in manifest["files"].items() if k != package.SIGNATURE}}
    with pytest.raises(NotFound, match="no signature"):
        package.load(blobs, without)


def test_a_type_of_ones_own_is_refused_until_it_is_named() -> None:
    name = f"{Oracle.__module__}.Oracle"
    with pytest.raises(Unsafe, match=rf"(?s){name}.*trusted="):
        packed(Oracle().fit(X, Y))
    blobs = Kept()
    manifest = package.store(blobs, packed(Oracle().fit(X, Y), trusted=[name]))
    with pytest.raises(Unsafe, match="nobody allowed"):
        package.load(blobs, manifest)
    assert package.load(blobs, manifest, [name]).predict(X).tolist() == [0.5] * 400


def test_functions_that_run_text_are_refused_though_numpy_has_them() -> None:
    from numpy import testing

    blobs = Kept()
    model = skops.io.dumps(FunctionTransformer(testing.rundocs))
    files = {**packed(ESTIMATORS["pipeline"].fit(X, Y)), scikit.FILE: model}
    with pytest.raises(Unsafe, match="rundocs"):
        package.load(blobs, package.store(blobs, files))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", True),
        ("sklearn.calibration._SigmoidCalibration", True),
        ("sklearn.neighbors._kd_tree.KDTree", False),  # compiled: its indices are followed unchecked
        ("sklearn._loss._loss.CyHalfBinomialLoss", True),  # compiled, and holds no index
        ("numpy.testing._private.utils.runstring", False),
        ("numpy.lib._npyio_impl.os", False),
        ("scipy.interpolate._cubic.CubicSpline", True),
        ("scipy._lib._ccallback.LowLevelCallable", False),  # built on a type of another package
        ("numpy.ma.MaskedArray", False),
        ("sklearn.utils.nothing.Here", False),
        ("sklearnx.Evil", False),
        ("subprocess.Popen", False),
        ("os.system", False),
    ],
)
def test_known_types_are_classes_that_the_packages_define(name: str, known: bool) -> None:
    assert is_known(name) is known


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10_000), ("right", 0), ("feature_idx", 99), ("feature_idx", -1)]
)
def test_a_histogram_tree_that_points_outside_is_refused(field: str, value: int) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=2).fit(X, Y)
    check_trees(estimator)
    estimator._predictors[1][0].nodes[field][0] = value
    files = packed(HistGradientBoostingClassifier(max_iter=2).fit(X, Y))
    files[scikit.FILE] = skops.io.dumps(estimator)
    blobs = Kept()
    with pytest.raises(Unsafe, match="points outside"):
        package.load(blobs, package.store(blobs, files))


def test_a_histogram_tree_with_wrong_category_bits_is_refused() -> None:
    frame = X.with_columns(c=pl.Series(RNG.integers(0, 6, 400)).cast(pl.Float64))
    y = (frame["c"] > 2).to_numpy().astype(np.int8)
    estimator = HistGradientBoostingClassifier(max_iter=2, categorical_features=[2]).fit(frame.to_numpy(), y)
    check_trees(estimator)
    nodes = estimator._predictors[0][0].nodes
    split = np.flatnonzero(nodes["is_categorical"])
    nodes["bitset_idx"][split[0]] = 77
    with pytest.raises(Unsafe):
        check_trees(estimator)


@pytest.mark.parametrize(("field", "value"), [("left_child", 10_000), ("right_child", 0), ("feature", 99)])
@pytest.mark.parametrize("kind", ["forest", "boosting"])
def test_a_tree_that_points_outside_is_refused(kind: str, field: str, value: int) -> None:
    estimator = ESTIMATORS[kind].fit(X, Y)
    check_trees(estimator)
    tree = np.ravel(estimator.estimators_)[0].tree_
    state = tree.__getstate__()
    nodes = state["nodes"].copy()
    nodes[field][0] = value
    tree.__setstate__({**state, "nodes": nodes})
    with pytest.raises(Unsafe, match="points outside"):
        check_trees(estimator)


def test_a_forest_narrower_than_its_trees_is_refused() -> None:
    estimator = RandomForestClassifier(20, random_state=0).fit(X, Y)
    estimator.n_features_in_ = 1
    with pytest.raises(Unsafe):
        check_trees(estimator)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.array([0.5, np.nan]), "nan"),
        (np.array([0.5, np.inf]), "inf"),
        (np.array([0.5, 1.5]), "no probability"),
        (np.array([0.5]), "shape"),
        (np.zeros((2, 3)), "3 columns for 2 classes"),
    ],
)
def test_what_is_no_probability_is_refused(scores: Any, message: str) -> None:
    class Wrong:
        def predict_proba(self, X: Any) -> Any:
            return scores

    with pytest.raises(BadScores, match=message) as caught:
        package.predict(Wrong(), X[:2])
    assert isinstance(caught.value, ValueError)


def test_an_estimator_that_saw_one_class_still_answers_about_class_one() -> None:
    for label in (0, 1):
        forest = RandomForestClassifier(2).fit(X, np.full(400, label))
        assert package.predict(forest, X[:3]).tolist() == [float(label)] * 3
    booleans = RandomForestClassifier(2, random_state=0).fit(X, Y == 1)
    np.testing.assert_array_equal(package.predict(booleans, X), booleans.predict_proba(X)[:, 1])


def test_a_class_of_the_project_s_own_file_has_no_lasting_name() -> None:
    assert allow(["parts.Cut", "numpy.x"], []).endswith("trusted=['parts.Cut', 'numpy.x'])")
    assert allow(["numpy.x"], ["parts.Cut"]).endswith(
        "trusted=['parts.Cut', 'numpy.x'])"
    )  # as it is to stand there
    told = allow(["builtins.print", f"{PROJECT_MODULE}0a1b.Cut"], ["steps.Odd"])
    assert told.startswith("Define Cut in a module beside the project's file")
    assert "trusted=['steps.Odd', 'parts.Cut']" in told
