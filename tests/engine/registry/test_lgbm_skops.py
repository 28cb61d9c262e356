"""LightGBM's estimators in skops, as MLflow keeps them: the same answers, nothing allowed, nothing unchecked."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from homeostat.domain.errors import Unsafe
from homeostat.engine.registry import flavors
from homeostat.engine.registry.formats.lgbm_skops import restore

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 3))
TWO = (X.sum(axis=1) > 0).astype(int)
THREE = TWO + (X[:, 0] > 0.5)
FAST = {"n_jobs": 1, "verbose": -1}


def kept(model: Any) -> dict[str, bytes]:
    said = {
        "data": "model.skops",
        "model_class": f"{type(model).__module__}.{type(model).__name__}",
        "serialization_format": "skops",
        "skops_trusted_types": ["os.system"],
    }
    return {
        "MLmodel": json.dumps({"flavors": {"lightgbm": said}}).encode(),
        "model.skops": skops.io.dumps(model),
    }


@pytest.mark.parametrize(
    "y",
    [TWO, THREE, TWO.astype(bool), np.where(TWO, "yes", "no"), np.where(TWO, "yes", "no").astype(object)],
    ids=["two", "three", "booleans", "texts", "objects"],
)
def test_a_classifier_gives_the_same_probabilities_of_the_same_classes(y: Any) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=6, num_leaves=5, **FAST).fit(X, y)
    found = flavors.restore(kept(model), ())
    assert found.predict_proba(X) == pytest.approx(model.predict_proba(X))
    assert found.classes_.tolist() == model.classes_.tolist()


def test_numbers_ranks_and_early_stopping() -> None:
    target = X @ [1.0, -2.0, 0.5]
    ranks = lightgbm.LGBMRanker(n_estimators=4, **FAST).fit(X, THREE, group=[100, 200])
    numbers = lightgbm.LGBMRegressor(n_estimators=4, **FAST).fit(X, target)
    stopped = lightgbm.LGBMRegressor(n_estimators=40, **FAST).fit(
        X[:200],
        rng.normal(size=200),
        eval_X=X[200:],
        eval_y=target[200:],
        callbacks=[lightgbm.early_stopping(30, verbose=False)],
    )
    assert 0 < stopped.best_iteration_ < 40
    for model in (ranks, numbers, stopped):
        assert flavors.restore(kept(model), ()).predict(X) == pytest.approx(model.predict(X))


def altered(change: Callable[[Any], None]) -> bytes:
    model = lightgbm.LGBMClassifier(n_estimators=2, **FAST).fit(X, np.where(TWO, "yes", "no").astype(object))
    schema = json.loads(zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))).read("schema.json"))
    change(schema)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    return file.getvalue()


def set_text(change: Callable[[str], str]) -> Callable[[Any], None]:
    def changed(schema: Any) -> None:
        node = schema["content"]["content"]["_Booster"]["content"]["content"]["_handle"]
        node["content"] = json.dumps(change(json.loads(node["content"])))

    return changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_text(lambda text: text.replace("left_child=1", "left_child=9")), "points outside|holds"),
        (set_text(lambda text: text[: len(text) // 4]), "is no model|ends|cut off|holds"),
        (lambda schema: schema["content"]["content"].pop("_Booster"), "KeyError"),
        (lambda schema: schema["content"]["content"]["_classes"]["content"].pop(), "1 classes for 2"),
        (
            lambda schema: schema.update({"__module__": "os", "__class__": "system"}),
            "no estimator of LightGBM",
        ),
    ],
    ids=["index", "cut off", "no booster", "classes", "another type"],
)
def test_what_is_damaged_or_another_object_is_refused(change: Callable[[Any], None], told: str) -> None:
    assert restore(altered(lambda schema: None), "m").predict_proba(X).shape == (300, 2)
    with pytest.raises(Unsafe, match=told):
        restore(altered(change), "m")


def test_a_file_that_is_none_is_refused() -> None:
    for data in (b"", b"PK", skops.io.dumps(LogisticRegression().fit(X, TWO))):
        with pytest.raises(Unsafe):
            restore(data, "m")
