"""What a model by itself takes and gives follows from what it was fitted on: odd names, texts, several answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import lightgbm
import msgspec
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from homeostat.app.standalone import Asked, local
from homeostat.domain.errors import BadRequest, DeclarationError
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.scorer import Loaded, Scored

rng = np.random.default_rng(0)
PEOPLE = pd.DataFrame(
    {
        "plan": rng.choice(["basic", "full", "pro"], 200),
        "city": rng.choice(["Bern", "Ulm"], 200),
        "monthly fee (€)": rng.normal(size=200),
        "note": rng.choice(["good day", "bad day"], 200),
    }
)
CHURNED = ((PEOPLE["plan"] == "basic") ^ (PEOPLE["monthly fee (€)"] > 0)).astype(int)


def load(path: Path, model: Any, *named: str) -> Loaded:
    joblib.dump(model, path / "model.joblib")
    return of(path / "model.joblib", *named)


def of(path: Path, *named: str) -> Loaded:
    loading = local(Asked(str(path), "m", trusted=named, allow_pickle=True))
    assert loading is not None
    return loading()


def ask(loaded: Loaded, *rows: dict[str, Any]) -> Scored:
    reader = RequestReader(loaded.columns, whole=loaded.whole)
    reader.convert(loaded.example)  # what it is warmed up with
    taken, many = reader.read(msgspec.json.encode({"instances": rows}))
    assert many
    return loaded.scorer.score(taken, [])


def test_names_may_be_any_texts(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    loaded = load(tmp_path, model)
    assert [column.name for column in loaded.columns] == list(X.columns)  # "sepal length (cm)" and so on
    rows = X[::50].to_dict("records")
    got = ask(loaded, *rows)
    assert got.outputs["label"].tolist() == model.predict(X[::50]).tolist()
    assert got.X.columns == list(X.columns)

    odd = ["a.b", "class", "self", "__a", "__dict__", "x[0] < 1", "ü", ""]
    data = pd.DataFrame(rng.normal(size=(60, len(odd))), columns=odd)
    named = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, data["a.b"] > 0)
    got = ask(load(tmp_path, named), *data[:5].to_dict("records"))
    assert got.outputs["probabilities"] == pytest.approx(named.predict_proba(data[:5]))

    reader = RequestReader(loaded.columns, whole=True)
    with pytest.raises(BadRequest) as missing:
        reader.read(msgspec.json.encode(dict.fromkeys(X.columns[1:], 1)))
    assert missing.value.field == "sepal length (cm)"
    with pytest.raises(BadRequest) as wrong:
        reader.read(msgspec.json.encode(dict.fromkeys(X.columns, 1) | {"petal width (cm)": "wide"}))
    assert wrong.value.field == "petal width (cm)"

    quoted = LogisticRegression().fit(pd.DataFrame({'a"b': [0.0, 1.0]}), [0, 1])
    with pytest.raises(DeclarationError) as refused:
        ask(load(tmp_path, quoted))
    assert "without quotes" in refused.value.remedy


def test_a_class_may_name_its_columns_by_any_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.py").write_text(
        "class Odd:\n"
        '    signature = {"monthly fee": float, "class": str}\n'
        "    def predict(self, X):\n"
        '        return {"risk": X["monthly fee"] * 2, "as": X["class"]}\n'
    )
    monkeypatch.chdir(tmp_path)
    got = ask(of(Path("odd.py:Odd")), {"monthly fee": 2, "class": "first"})
    assert (list(got.outputs["risk"]), list(got.outputs["as"])) == ([4.0], ["first"])


def test_columns_of_texts_are_told_by_encoders(tmp_path: Path) -> None:
    holes = PEOPLE.copy()
    holes.loc[::7, "city"] = None
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    model = make_pipeline(
        ColumnTransformer(
            [
                ("plan", OneHotEncoder(handle_unknown="ignore"), ["plan"]),
                ("city", words, ["city"]),
                ("note", TfidfVectorizer(), "note"),
            ],
            remainder=StandardScaler(),
        ),
        LogisticRegression(),
    ).fit(holes, CHURNED)
    loaded = load(tmp_path, model)
    assert [(c.name, c.type, c.nullable, c.choices) for c in loaded.columns] == [
        ("plan", "string", False, None),
        ("city", "string", True, ("Bern", "Ulm")),
        ("monthly fee (€)", "float", False, None),
        ("note", "string", False, None),
    ]
    rows: list[dict[str, Any]] = [
        {"plan": "full", "city": "Ulm", "monthly fee (€)": 0.5, "note": "good"},
        {"plan": "new", "city": None, "monthly fee (€)": -0.5, "note": "bad day"},
    ]
    got = ask(loaded, *rows)
    assert got.outputs["probabilities"] == pytest.approx(model.predict_proba(pd.DataFrame(rows)))
    with pytest.raises(BadRequest, match="enum"):
        ask(loaded, rows[0] | {"city": "Rome"})

    frame = PEOPLE[["plan", "monthly fee (€)"]].astype({"plan": "category"})
    boosted = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype")
    boosted.fit(frame, CHURNED)
    called = ("functools.partial", "sklearn.utils.validation.check_array")
    got = ask(load(tmp_path, boosted, *called), *frame[:20].to_dict("records"))
    assert got.outputs["probabilities"] == pytest.approx(boosted.predict_proba(frame[:20]))


def test_boosters_in_their_own_formats_keep_the_names_they_were_fitted_on(tmp_path: Path) -> None:
    X = pd.DataFrame(rng.normal(size=(200, 2)), columns=["months", "fee"])
    y = (X["months"] > 0).astype(int)
    rows: list[dict[str, Any]] = X[:5].to_dict("records")
    leaves = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, y), 3)
    leaves.save_model(tmp_path / "model.txt")
    loaded = of(tmp_path / "model.txt")
    assert (loaded.table, [column.name for column in loaded.columns]) == ("", ["months", "fee"])
    assert ask(loaded, *rows).outputs["prediction"] == pytest.approx(leaves.predict(X[:5]))

    trees = xgboost.XGBRegressor(n_estimators=3).fit(X, np.stack([y, -y], axis=1))  # two targets
    trees.save_model(tmp_path / "model.ubj")
    loaded = of(tmp_path / "model.ubj")
    assert (loaded.table, [column.name for column in loaded.columns]) == ("", ["months", "fee"])
    assert ask(loaded, *rows).outputs["prediction"] == pytest.approx(trees.predict(X[:5]))


@pytest.mark.parametrize(
    "model", [RandomForestClassifier(5), MultiOutputClassifier(LogisticRegression())], ids=["forest", "each"]
)
def test_a_classifier_of_several_labels_gives_the_probabilities_of_each(tmp_path: Path, model: Any) -> None:
    X = rng.normal(size=(100, 2))
    model.fit(X, np.stack([X[:, 0] > 0, np.digitize(X[:, 1], [-1, 1])], axis=1))
    loaded = load(tmp_path, model)
    assert [(o.name, o.width) for o in loaded.outputs] == [
        ("label", 2),
        ("probabilities_0", 2),
        ("probabilities_1", 3),
    ]
    got = ask(loaded, *({"x0": a, "x1": b} for a, b in X[:5].tolist()))
    assert got.outputs["label"].tolist() == model.predict(X[:5]).tolist()
    for place, probabilities in enumerate(model.predict_proba(X[:5])):
        assert got.outputs[f"probabilities_{place}"] == pytest.approx(probabilities)


def test_answers_that_are_no_numbers_are_given_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.py").write_text(
        "class Words:\n"
        '    signature = {"a": float}\n'
        "    def predict(self, X):\n"
        '        return [{"high": value} if value > 1 else None for value in X["a"]]\n'
    )
    monkeypatch.chdir(tmp_path)
    got = ask(of(Path("words.py:Words")), {"a": 2.0}, {"a": 0.0})
    assert list(got.outputs["prediction"]) == [{"high": 2.0}, None]
    assert got.scores == [0.0, 0.0]  # not their place in the batch, which is another in each
