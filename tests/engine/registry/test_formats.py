"""Models of other libraries come back in their own format and answer as they did."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import onnx
import polars as pl
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression

from homeostat.domain.errors import BadScores, NotFound, NotInstalled, Unsafe
from homeostat.engine.registry import formats, package
from homeostat.engine.registry.formats import graphs, lgbm, scikit, tensors, xgb
from homeostat.engine.registry.formats.base import numbers
from tests.engine.registry.packing import RNG, X, Y, loaded, packed

SPARSE = X.with_columns(pl.col("b").map_elements(lambda v: -1.0 if v > 0.5 else v, return_dtype=pl.Float64))


def boosted(**options: Any) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1, **options)


def leaves(**options: Any) -> lightgbm.LGBMClassifier:
    return lightgbm.LGBMClassifier(n_estimators=8, num_leaves=6, n_jobs=1, verbose=-1, **options)


def linear_graph(*, classes: int = 1, inputs: str = "table", kind: int = onnx.TensorProto.FLOAT) -> Any:
    """A logistic regression as an exporter of tensors writes it."""
    from onnx import helper

    weights, bias = np.array([[2.0], [-1.0], [0.5]], np.float32), np.array([0.1], np.float32)
    nodes, names = [], X.columns
    if inputs == "table":
        given = [helper.make_tensor_value_info("X", kind, [None, 3])]
        nodes.append(helper.make_node("Cast", ["X"], ["table"], to=onnx.TensorProto.FLOAT))
    else:
        given = [helper.make_tensor_value_info(name, kind, [None, 1]) for name in names]
        nodes.append(helper.make_node("Concat", names, ["table"], axis=1))
    nodes.append(helper.make_node("Gemm", ["table", "W", "B"], ["logit"]))
    nodes.append(helper.make_node("Sigmoid", ["logit"], ["p"]))
    if classes == 2:
        nodes.append(helper.make_node("Sub", ["one", "p"], ["q"]))
        nodes.append(helper.make_node("Concat", ["q", "p"], ["both"], axis=1))
    out = helper.make_tensor_value_info(
        "both" if classes == 2 else "p", onnx.TensorProto.FLOAT, [None, classes]
    )
    kept = [("W", weights), ("B", bias), ("one", np.array([1.0], np.float32))]
    graph = helper.make_graph(
        nodes, "g", given, [out], [onnx.numpy_helper.from_array(value, name) for name, value in kept]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def expected_of_graph(frame: pl.DataFrame) -> Any:
    return 1 / (1 + np.exp(-(frame.to_numpy() @ np.array([2.0, -1.0, 0.5]) + 0.1)))


MODELS: dict[str, tuple[Callable[[], Any], pl.DataFrame, str]] = {
    "xgboost": (lambda: boosted().fit(X, Y), X, xgb.FILE),
    "xgboost, -1 is missing": (lambda: boosted(missing=-1.0).fit(SPARSE, Y), SPARSE, xgb.FILE),
    "xgboost, dart": (lambda: boosted(booster="dart", rate_drop=0.3, random_state=1).fit(X, Y), X, xgb.FILE),
    "xgboost, linear": (
        lambda: xgboost.XGBClassifier(n_estimators=8, booster="gblinear").fit(X, Y),
        X,
        xgb.FILE,
    ),
    "xgboost, forest": (
        lambda: xgboost.XGBRFClassifier(n_estimators=8, random_state=0).fit(X, Y),
        X,
        xgb.FILE,
    ),
    "xgboost, stopped early": (
        lambda: boosted(early_stopping_rounds=1).fit(X, Y, eval_set=[(X, RNG.permutation(Y))], verbose=False),
        X,
        xgb.FILE,
    ),
    "lightgbm": (lambda: leaves().fit(X, Y), X, lgbm.FILE),
    "lightgbm, forest": (
        lambda: leaves(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5).fit(X, Y),
        X,
        lgbm.FILE,
    ),
    "lightgbm, stopped early": (
        lambda: leaves().fit(
            X, Y, eval_set=[(X, RNG.permutation(Y))], callbacks=[lightgbm.early_stopping(1, verbose=False)]
        ),
        X,
        lgbm.FILE,
    ),
    "lightgbm, no split": (lambda: leaves(min_child_samples=1000).fit(X, Y), X, lgbm.FILE),
    "lightgbm, booleans": (lambda: leaves().fit(X, Y == 1), X, lgbm.FILE),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_classifier_comes_back_from_its_own_format(name: str) -> None:
    make, frame, file = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XGBoost and LightGBM, about options that they do not use
        model = make()
        wanted = package.predict(model, frame)
    files = packed(model)
    assert file in files
    found = loaded(files)
    np.testing.assert_array_equal(found.predict(frame), wanted)
    np.testing.assert_array_equal(found.predict(frame[:1]), wanted[:1])
    again = formats.dump(found.estimator, ())
    np.testing.assert_array_equal(loaded({**files, **again}).predict(frame), wanted)


def test_categories_are_found_again_by_their_names() -> None:
    names = pl.Series("d", RNG.choice(["u", "v", "w"], 300))
    frame = X.with_columns(names.cast(pl.Enum(["u", "v", "w"])))
    y = (names == "v").to_numpy().astype(np.int8)
    model = boosted(enable_categorical=True, max_cat_to_onehot=1).fit(frame, y)
    found = loaded(packed(model))
    np.testing.assert_array_equal(found.predict(frame), model.predict_proba(frame)[:, 1])
    other = frame.with_columns(names.cast(pl.Enum(["w", "v", "u"])))
    np.testing.assert_array_equal(found.predict(other), model.predict_proba(frame)[:, 1])


def test_numbered_categories_of_lightgbm() -> None:
    frame = X.with_columns(d=pl.Series(RNG.integers(0, 40, 300)))
    y = (frame["d"] % 3 == 0).to_numpy().astype(np.int8)
    model = leaves(min_child_samples=2, cat_smooth=1).fit(frame, y, categorical_feature=[3])
    assert "num_cat=1" in model.booster_.model_to_string()
    np.testing.assert_array_equal(loaded(packed(model)).predict(frame), model.predict_proba(frame)[:, 1])


def test_boosters_answer_with_probabilities() -> None:
    for booster in (boosted().fit(X, Y).get_booster(), leaves().fit(X, Y).booster_):
        ready = package.classifier(booster)
        wanted = package.predict(ready, X)
        assert len(set(wanted)) > 5
        np.testing.assert_array_equal(loaded(packed(ready)).predict(X), wanted)
        np.testing.assert_array_equal(loaded(packed(booster)).predict(X), wanted)
        with pytest.raises(BadScores, match="3 features, not 2"):
            ready.predict_proba(X[:, :2])


def test_boosters_that_give_a_number_come_back_too() -> None:
    numbers = X.fill_null(0).to_numpy()
    forest = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(numbers, Y), 2)
    half = xgboost.train(
        {"objective": "reg:quantileerror", "quantile_alpha": 0.5}, xgboost.DMatrix(numbers, Y), 2
    )
    trees = lightgbm.train({"objective": "huber", "verbosity": -1}, lightgbm.Dataset(numbers, Y), 2)
    for booster, wanted in (
        (forest, forest.predict(xgboost.DMatrix(numbers))),
        (half, half.predict(xgboost.DMatrix(numbers))),
        (trees, trees.predict(numbers)),
    ):
        ready = package.classifier(booster)
        assert not hasattr(ready, "predict_proba")  # so that no training of a classifier takes it
        again = formats.load(formats.dump(ready, ()), ())
        np.testing.assert_array_equal(again.predict(numbers), wanted)


def test_a_classifier_of_lightgbm_whose_objective_is_its_own_is_not_kept() -> None:
    def objective(y: Any, margin: Any) -> Any:
        p = 1 / (1 + np.exp(-margin))
        return p - y, p * (1 - p)

    model = leaves(objective=objective).fit(X, Y)
    with pytest.raises(Unsafe, match="its objective is its own"):
        formats.dump(model, ())
    assert formats.dump(model.booster_, ())


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("inputs", ["table", "columns"])
@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE])
def test_a_graph_comes_back(classes: int, inputs: str, kind: int) -> None:
    frame = X.fill_null(0)
    if inputs == "columns" and kind == onnx.TensorProto.DOUBLE:
        kind = onnx.TensorProto.FLOAT
    graph = linear_graph(classes=classes, inputs=inputs, kind=kind)
    ready = package.classifier(graph)
    np.testing.assert_allclose(package.predict(ready, frame), expected_of_graph(frame), atol=1e-6)
    files = packed(graph)
    assert graphs.FILE in files
    np.testing.assert_array_equal(loaded(files).predict(frame), package.predict(ready, frame))


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_graph_converted_from_scikit_learn(zipmap: bool) -> None:
    import skl2onnx

    frame = X.fill_null(0)
    model = LogisticRegression().fit(frame, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skl2onnx speaks of newer NumPy
        graph = skl2onnx.to_onnx(model, frame.to_numpy().astype(np.float32), options={"zipmap": zipmap})
    wanted = model.predict_proba(frame)[:, 1]
    np.testing.assert_allclose(loaded(packed(graph)).predict(frame), wanted, rtol=1e-4)


def test_a_graph_that_asks_for_other_columns_says_which() -> None:
    ready = package.classifier(linear_graph(inputs="columns"))
    with pytest.raises(BadScores, match="asks for b"):
        package.predict(ready, X.drop("b"))


class Net:
    """A model whose state is a dictionary of arrays, as PyTorch's are."""

    def __init__(self, width: int = 3) -> None:
        self.width = width
        self.weights = np.zeros(width)

    def get_params(self) -> dict[str, Any]:
        return {"width": self.width}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["weights"].shape != (self.width,):
            raise ValueError(f"weights of shape {state['weights'].shape}")
        self.weights = state["weights"]

    def predict_proba(self, X: pl.DataFrame) -> Any:
        return 1 / (1 + np.exp(-(X.fill_null(0).to_numpy() @ self.weights)))


NET = f"{__name__}.Net"


def net() -> Net:
    made = Net()
    made.weights = np.array([1.0, -2.0, 0.5])[::-1]
    return made


def test_tensors_come_back_in_a_class_that_the_project_names() -> None:
    with pytest.raises(Unsafe, match=rf"{NET}.*nobody allowed.*trusted="):
        packed(net())
    files = packed(net(), [NET])
    assert json.loads(files[formats.DETAILS]) == {
        "format": "tensors",
        "kind": NET,
        "parameters": {"width": 3},
        "library": "numpy",
    }
    with pytest.raises(Unsafe, match="nobody allowed"):
        loaded(files)
    np.testing.assert_array_equal(loaded(files, [NET]).predict(X), net().predict_proba(X))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"kind": "subprocess.Popen", "parameters": {"args": ["true"]}}, "nobody allowed"),
        ({"kind": NET, "parameters": {"width": 4}}, "does not take the state"),
        ({"kind": NET, "parameters": {"depth": 4}}, "does not take the state"),
        ({"kind": NET, "library": "jax"}, "does not fit"),
        ({}, "does not fit"),
    ],
)
def test_details_that_do_not_fit_the_tensors_are_refused(said: dict[str, Any], message: str) -> None:
    files = packed(net(), [NET])
    files[formats.DETAILS] = json.dumps({"format": "tensors", **said}).encode()
    with pytest.raises(Unsafe, match=message):
        loaded(files, [NET])


def test_torn_tensors_are_refused() -> None:
    files = packed(net(), [NET])
    for part in (files[tensors.FILE][:-3], b"", b"\xff" * 64):
        with pytest.raises(Unsafe, match="damaged"):
            loaded({**files, tensors.FILE: part}, [NET])


def test_a_state_that_is_no_tensors_is_refused() -> None:
    made = net()
    made.weights = np.array([object()] * 3)
    with pytest.raises(Unsafe, match="no tensor: weights"):
        packed(made, [NET])


def test_a_booster_within_an_estimator_of_scikit_learn_needs_its_types_named() -> None:
    model = CalibratedClassifierCV(boosted(), cv=2).fit(X, Y)
    with pytest.raises(Unsafe, match=r"xgboost.core.Booster"):
        packed(model)
    named = ["xgboost.core.Booster", "xgboost.sklearn.XGBClassifier"]
    files = packed(model, named)
    assert scikit.FILE in files
    np.testing.assert_allclose(loaded(files, named).predict(X), model.predict_proba(X)[:, 1])


def test_a_package_has_one_model() -> None:
    files = packed(boosted().fit(X, Y))
    with pytest.raises(Unsafe, match="several models"):
        loaded({**files, lgbm.FILE: b"tree"})
    with pytest.raises(NotFound, match=r"none of model\.ubj"):
        loaded({name: data for name, data in files.items() if name != xgb.FILE})


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [
        ("xgboost", "xgboost", lambda: packed(boosted().fit(X, Y))),
        ("lightgbm", "lightgbm", lambda: packed(leaves().fit(X, Y))),
        ("onnx", "onnx", lambda: packed(linear_graph())),
        ("onnxruntime", "onnx", lambda: packed(linear_graph())),
        ("safetensors.numpy", "safetensors", lambda: packed(net(), [NET])),
    ],
)
def test_a_missing_library_names_the_extra_to_install(
    module: str, extra: str, make: Callable[[], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotInstalled, match=rf"pip install 'homeostat\[{extra}\]'"):
        loaded(files, [NET]).predict(X)


def test_no_library_is_imported_before_its_format_is_used() -> None:
    code = (
        "import sys, homeostat.engine.registry.package\n"
        "print(sorted({'xgboost', 'lightgbm', 'onnx', 'onnxruntime', 'safetensors', 'fickling', 'skops', 'yaml',"
        " 'sklearn', 'joblib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_numbers_are_an_array_and_other_columns_stay_a_frame() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [True, None], "c": [0.5, None]})
    np.testing.assert_array_equal(numbers(frame), [[1, 1, 0.5], [np.nan] * 3])
    assert numbers(frame.with_columns(d=pl.lit("x"))).height == 2
