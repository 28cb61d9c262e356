"""A model by itself: what it takes follows from its file, and it gives all it knows."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import lightgbm
import msgspec
import numpy as np
import polars as pl
import pytest
import skops.io
import xgboost
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from homeostat.app.container import Container
from homeostat.app.registry.directories import import_directory
from homeostat.app.registry.trees import held
from homeostat.app.settings import Settings
from homeostat.app.standalone import Asked, local, name_of, reference, registered
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import BadReference, BadRequest, BadScores, DeclarationError, NotFound, Unsafe
from homeostat.domain.refs import Ref
from homeostat.engine.registry import formats
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.scorer import Loaded, Scored

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3))
y = (X.sum(axis=1) > 0).astype(int)
NAMED = pl.DataFrame(X, schema=["a", "b", "c"])


def load(path: Path, **options: Any) -> Loaded:
    loading = local(Asked(str(path), "m", **options))
    assert loading is not None
    return loading()


def ask(loaded: Loaded, *values: list[float | None]) -> Scored:
    names = [column.name for column in loaded.columns]
    reader = RequestReader(loaded.columns, whole=loaded.whole)
    rows = reader.take([dict(zip(names, row, strict=True)) for row in values])
    return loaded.scorer.score(rows, [])


def saved(folder: Path, model: Any) -> Path:
    path = folder / "model.skops"
    skops.io.dump(model, path)
    return path


def test_an_estimator_of_arrays_takes_one_table(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, y)
    loaded = load(saved(tmp_path, model))
    assert loaded.table == "input"
    assert [(c.name, c.type, c.nullable) for c in loaded.columns] == [
        (f"x{n}", "float", False) for n in range(3)
    ]
    assert [(o.name, o.type, o.width) for o in loaded.outputs] == [
        ("label", "integer", 0),
        ("probabilities", "float", 2),
    ]
    got = ask(loaded, *X[:50].tolist())
    assert got.outputs["label"].tolist() == model.predict(X[:50]).tolist()
    assert got.outputs["probabilities"] == pytest.approx(model.predict_proba(X[:50]))
    assert got.scores == pytest.approx(model.predict_proba(X[:50])[:, 1])
    with pytest.raises(BadRequest, match="got `null`"):
        ask(loaded, [None, 1.0, 1.0])


def test_an_estimator_of_names_takes_columns_and_what_is_missing(tmp_path: Path) -> None:
    labels = np.array(["x", "y", "z"])[np.arange(200) % 3]
    model = HistGradientBoostingClassifier(max_iter=3).fit(NAMED, labels)
    loaded = load(saved(tmp_path, model))
    assert loaded.table == ""
    assert [(c.name, c.nullable) for c in loaded.columns] == [("a", True), ("b", True), ("c", True)]
    got = ask(loaded, [0.1, None, 0.3])
    assert (
        got.outputs["label"].tolist()
        == model.predict(pl.DataFrame([[0.1, np.nan, 0.3]], ["a", "b", "c"], orient="row")).tolist()
    )
    assert got.scores == [got.outputs["probabilities"].max()]
    reader = RequestReader(loaded.columns, whole=True)
    with pytest.raises(BadRequest, match="missing required field `c`"):  # null is a value, nothing is none
        reader.take([{"a": 1.0, "b": None}])


def test_regressors_and_classifiers_without_probabilities(tmp_path: Path) -> None:
    ridge = Ridge().fit(X, X.sum(axis=1))
    got = ask(load(saved(tmp_path, ridge)), *X[:5].tolist())
    assert got.scores == got.outputs["prediction"].tolist()
    assert got.scores == pytest.approx(ridge.predict(X[:5]))
    texts = np.array(["no", "yes"])[y]
    got = ask(load(saved(tmp_path, LinearSVC().fit(X, texts))), *X[:5].tolist())
    assert got.outputs["label"].tolist() == texts[:5].tolist()
    assert got.scores == y[:5].astype(float).tolist()


def test_a_graph_gives_its_outputs_by_their_names(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, y)
    for options in ({}, {"options": {"zipmap": False}}):
        path = tmp_path / "lr.onnx"
        path.write_bytes(to_onnx(model, X[:1].astype(np.float32), **options).SerializeToString())
        loaded = load(path)
        assert (loaded.table, len(loaded.columns)) == ("input", 3)
        got = ask(loaded, *X[:5].tolist())
        assert loaded.outputs[0].name in ("label", "output_label")
        assert got.outputs[loaded.outputs[0].name].tolist() == model.predict(X[:5]).tolist()
        assert got.scores == pytest.approx(model.predict_proba(X[:5])[:, 1], abs=1e-6)


def test_boosters_in_their_own_formats(tmp_path: Path) -> None:
    forest = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(X, y), 3)
    trees = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, y), num_boost_round=3
    )
    forest.save_model(tmp_path / "forest.ubj")
    forest.save_model(tmp_path / "forest.json")
    trees.save_model(tmp_path / "trees.txt")
    of_forest, of_trees = forest.predict(xgboost.DMatrix(X[:5])), trees.predict(X[:5])
    for name, wanted in (("forest.ubj", of_forest), ("forest.json", of_forest), ("trees.txt", of_trees)):
        loaded = load(tmp_path / name)
        assert (loaded.table, len(loaded.columns)) == ("input", 3)
        got = ask(loaded, *X[:5].tolist())
        assert got.scores == pytest.approx(wanted, abs=1e-6)
        assert got.outputs["prediction"] == pytest.approx(wanted, abs=1e-6)
        assert len(ask(loaded, [None, 1.0, 2.0]).scores) == 1


def test_pickles_are_read_where_the_caller_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(LogisticRegression().fit(X, y), path)
    with pytest.raises(Unsafe, match=r"model\.joblib is a pickle, which runs code") as refused:
        load(path)
    assert refused.value.remedy.endswith("if you know where it comes from, add --allow-pickle")
    assert len(ask(load(path, allow_pickle=True), *X[:2].tolist()).scores) == 2


class Command:
    """Unpickled, it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_is_allowed_calls_only_what_is_named(tmp_path: Path) -> None:
    path, marker = tmp_path / "model.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Command(marker)))
    for options, lacking in (
        ({}, "--allow-pickle --trust posix.system"),
        ({"allow_pickle": True}, "--allow-pickle --trust posix.system"),
        ({"trusted": ("posix.system",)}, "--allow-pickle"),
    ):
        with pytest.raises(Unsafe, match=r"model\.pkl is a pickle.*posix\.system") as refused:
            load(path, **options)
        assert refused.value.remedy.endswith(f"add {lacking}")
    assert not marker.exists()
    path.write_bytes(cloudpickle.dumps(lambda x: x))
    with pytest.raises(Unsafe) as refused:
        load(path, allow_pickle=True)
    assert refused.value.remedy.endswith(f"add --trust {digest_bytes(path.read_bytes())}")
    with pytest.raises(BadScores, match=r"model\.pkl: function has no predict"):
        load(path, trusted=(digest_bytes(path.read_bytes()),))


def test_a_pickle_by_another_name_runs_nothing_and_is_named(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for name in ("m.skops", "m.onnx", "m.ubj", "m.json", "m.txt", "m.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Command(marker)))
        with pytest.raises(Unsafe, match=name.replace(".", r"\.")):
            load(tmp_path / name, allow_pickle=True)
    assert not marker.exists()


def test_a_version_of_the_registry_that_is_refused_is_named(tmp_path: Path) -> None:
    """With what helps on this command line; a project has no say in it."""
    said = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"}}
    files = {
        "MLmodel": msgspec.json.encode({"flavors": said}),
        "model.pkl": pickle.dumps(LogisticRegression().fit(X, y)),
    }
    with Container(Settings(home=tmp_path / "home")) as container:
        made = import_directory(container, "churn", held(files))
        with pytest.raises(Unsafe, match=r"^model/churn@1: model\.pkl is a pickle") as refused:
            registered(container, made, Asked("model/churn@1", "churn"))
        assert refused.value.remedy.endswith("add --allow-pickle")
        assert registered(container, made, Asked("model/churn@1", "churn", allow_pickle=True)).columns


def test_what_cannot_be_served_says_why(tmp_path: Path) -> None:
    odd = tmp_path / "model.bin"
    odd.write_bytes(b"x")
    with pytest.raises(NotFound, match="of no format that is known"):
        load(odd)
    for name, remedy in (
        ("net.pt2", "torch.onnx.export"),
        ("trees.cbm", "format='onnx'"),
        ("a.py", "a.py:Churn"),
    ):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(NotFound, match="of no format that is known") as unknown:
            load(tmp_path / name)
        assert remedy in unknown.value.remedy
    for name, data, told in (
        ("model.skops", b"x", r"model\.skops cannot be read"),
        ("empty.skops", b"", r"empty\.skops is empty"),
        ("net.safetensors", b"x", r"net\.safetensors: there is no estimator\.json beside"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Unsafe, match=told):
            load(tmp_path / name)
    joblib.dump(LogisticRegression().fit(X, y), tmp_path / "small.joblib", compress=3)
    with pytest.raises(Unsafe, match=r"small\.joblib is compressed by zlib") as refused:
        load(tmp_path / "small.joblib", allow_pickle=True)
    assert "joblib.dump" in refused.value.remedy
    skops.io.dump(Path("a"), tmp_path / "odd.skops")
    with pytest.raises(Unsafe, match=r"odd\.skops holds pathlib\.\w+, which nobody allowed") as refused:
        load(tmp_path / "odd.skops")
    assert "add --trust pathlib." in refused.value.remedy
    with pytest.raises(BadScores, match="has no predict"):
        load(saved(tmp_path, {"a": 1}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="holds no model"):
        load(tmp_path / "empty")


def test_names_and_references() -> None:
    assert reference("model/churn@champion") == Ref("model", "churn", "champion")
    assert reference("models:/churn/3") == Ref("model", "churn", "3")
    assert reference("models:/churn@best") == Ref("model", "churn", "best")
    assert name_of("model/churn@3") == "churn"
    assert name_of(__file__, "other") == "other"
    with pytest.raises(NotFound, match=r"no file missing\.skops"):
        reference("missing.skops")
    with pytest.raises(BadReference):
        reference("model/a@b@c")
    with pytest.raises(BadRequest, match="cannot name a model"):
        name_of("model/churn@3", "a/b")


def test_an_mlflow_directory_says_what_it_takes(tmp_path: Path) -> None:
    model = LogisticRegression().fit(NAMED, y)
    folder = tmp_path / "mlflow"
    folder.mkdir()
    skops.io.dump(model, folder / "model.skops")
    inputs = [{"name": name, "type": "double", "required": True} for name in "abc"]
    (folder / "MLmodel").write_bytes(
        msgspec.json.encode(
            {
                "flavors": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
                "signature": {"inputs": msgspec.json.encode(inputs).decode()},
            }
        )
    )
    loaded = load(folder)
    assert [(c.name, c.type) for c in loaded.columns] == [("a", "float"), ("b", "float"), ("c", "float")]
    assert ask(loaded, *X[:5].tolist()).outputs["label"].tolist() == model.predict(NAMED[:5]).tolist()


def test_regressors_in_their_own_formats(tmp_path: Path) -> None:
    """What predicts a number gives it as its prediction, whether the file says that it was an estimator or not."""
    target = X @ [1.0, -2.0, 0.5] + 3
    forest = xgboost.XGBRegressor(n_estimators=4, n_jobs=1).fit(X, target)
    trees = lightgbm.LGBMRegressor(n_estimators=4, n_jobs=1, verbose=-1).fit(X, target)
    counts = xgboost.train({"objective": "count:poisson"}, xgboost.DMatrix(X, abs(target)), 4)
    forest.save_model(tmp_path / "forest.json")
    trees.booster_.save_model(tmp_path / "trees.txt")
    counts.save_model(tmp_path / "counts.ubj")
    for name, wanted in (
        ("forest.json", forest.predict(X[:5])),
        ("trees.txt", trees.predict(X[:5])),
        ("counts.ubj", counts.predict(xgboost.DMatrix(X[:5]))),
    ):
        loaded = load(tmp_path / name)
        got = ask(loaded, *X[:5].tolist())
        assert [output.name for output in loaded.outputs] == ["prediction"]
        assert got.outputs["prediction"] == pytest.approx(wanted, abs=1e-5)
        assert got.scores == pytest.approx(wanted, abs=1e-5)
    for model in (forest, trees):
        folder = tmp_path / type(model).__name__
        folder.mkdir()
        for name, data in formats.dump(model, ()).items():
            (folder / name).write_bytes(data)
        got = ask(load(folder), *X[:5].tolist())
        assert got.outputs["prediction"] == pytest.approx(model.predict(X[:5]), abs=1e-5)


class Line:
    """A model whose state is a dictionary of arrays, as PyTorch's are."""

    n_features_in_ = 3

    def __init__(self) -> None:
        self.weights = np.zeros(3)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = state["weights"]

    def predict_proba(self, X: Any) -> Any:
        return 1 / (1 + np.exp(-(X @ self.weights)))


def test_tensors_beside_the_name_of_their_class(tmp_path: Path) -> None:
    model, kind = Line(), f"{Line.__module__}.Line"
    model.weights = np.array([1.0, 2.0, -1.0])
    for name, data in formats.dump(model, [kind]).items():
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "model.safetensors"
    with pytest.raises(Unsafe, match="which nobody allowed"):
        load(path)
    got = ask(load(path, trusted=(kind,)), *X[:5].tolist())
    assert got.scores == pytest.approx(model.predict_proba(X[:5]))


CLASSES = """
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import homeostat as hs

if TYPE_CHECKING:
    import pandas as pd


class Customer(hs.Contract):
    months: Annotated[int, hs.Check(ge=1)]
    fee: float | None
    plan: Literal["basic", "full"]


class Typed:
    def predict(self, X: Customer):
        return {"risk": X["months"] * 0.1, "offer": [plan.upper() for plan in X["plan"]]}


class Named:
    signature = {"months": float, "plan": str}

    def predict(self, X: pd.DataFrame):
        return X.assign(risk=X["months"] * 2)[["risk"]]


class Counted:
    n_features_in_ = 2
    classes_ = ["no", "yes"]

    def predict(self, X):
        return ["yes" if row.sum() > 0 else "no" for row in X]

    def predict_proba(self, X):
        return [[0.25, 0.75] if row.sum() > 0 else [0.75, 0.25] for row in X]


class Coded:
    signature = {"code": Annotated[str, hs.Check(pattern="^[A-Z]+$")]}
    example = {"code": "A"}

    def predict(self, X):
        assert all(X["code"])
        return X["code"].str.len_chars()


class Bounded:
    signature = {
        "share": Annotated[float, hs.Check(gt=0, le=0.5)],
        "between": Annotated[float, hs.Check(gt=3, lt=3.25)],
        "most": Annotated[float, hs.Check(lt=-7)],
        "least": Annotated[float, hs.Check(gt=1e17)],
        "only": Annotated[float, hs.Check(ge=5, le=5)],
        "whole": Annotated[int, hs.Check(gt=2, lt=4)],
        "below": Annotated[int, hs.Check(lt=-2)],
    }

    def predict(self, X):
        return X["share"]


class Mute:
    def predict(self, X):
        return X


class Needy:
    def __init__(self, path):
        pass


class Wrong:
    signature = 3

    def predict(self, X):
        return X
"""


def of_class(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Loaded:
    (folder / "shop_models.py").write_text(CLASSES)
    monkeypatch.chdir(folder)
    found = local(Asked(text, "m"))
    assert found is not None
    return found()


def test_a_plain_class_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = of_class(tmp_path, monkeypatch, "shop_models.py:Typed")
    assert [(c.name, c.type, c.nullable) for c in typed.columns] == [
        ("months", "integer", False),
        ("fee", "float", True),
        ("plan", "string", False),
    ]
    assert [(o.name, o.type) for o in typed.outputs] == [("risk", "float"), ("offer", "string")]
    reader = RequestReader(typed.columns, whole=typed.whole)
    got = typed.scorer.score(reader.take([{"months": 3, "plan": "full"}]), [])
    assert (got.scores, list(got.outputs["offer"])) == ([pytest.approx(0.3)], ["FULL"])
    with pytest.raises(BadRequest, match=">= 1"):
        reader.take([{"months": 0, "plan": "full"}])

    named = of_class(tmp_path, monkeypatch, "shop_models.py:Named")  # its X is a frame of pandas
    row = RequestReader(named.columns).take([{"months": 4.0, "plan": "full"}])
    assert named.scorer.score(row, []).scores == [8.0]

    counted = of_class(tmp_path, monkeypatch, "shop_models:Counted")  # a module of the working directory
    assert (counted.table, len(counted.columns)) == ("input", 2)
    got = ask(counted, [1.0, 2.0], [-1.0, 0.0])
    assert got.outputs["label"].tolist() == ["yes", "no"]
    assert got.scores == [0.75, 0.25]

    coded = of_class(tmp_path, monkeypatch, "shop_models.py:Coded")
    assert coded.example == {"code": "A"}

    bounded = of_class(tmp_path, monkeypatch, "shop_models.py:Bounded")
    RequestReader(bounded.columns).convert(bounded.example)  # which raises where a value is out of bounds


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("shop_models.py:Mute", BadScores, "does not say how many features it takes"),
        ("shop_models.py:Needy", DeclarationError, r"Needy\(\) raised TypeError"),
        ("shop_models.py:Wrong", DeclarationError, "its signature is 3"),
        ("shop_models.py:Absent", NotFound, "has no class Absent"),
        ("absent.py:Model", NotFound, "there is no file"),
        ("absent_module:Model", NotFound, "there is no module absent_module"),
    ],
)
def test_a_class_that_cannot_be_served_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        of_class(tmp_path, monkeypatch, text)
