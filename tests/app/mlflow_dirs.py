"""Runs in MLflow's own environment: saves model directories, and loads those that were written for it.

``save FOLDER`` saves models of several flavors; ``load DIR FRAME`` prints what pyfunc and the flavor answer, as JSON.
"""

import json
import sys
from pathlib import Path

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def save(folder):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=list("abc"))
    y = (X.a + 0.3 * X.b > 0).astype(int)
    (folder / "X.json").write_text(json.dumps({"columns": list(X), "data": X.to_numpy().tolist()}))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    trees = ["sklearn.tree._tree.Tree"]
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    boosted = xgboost.XGBClassifier(n_estimators=5).fit(X, y)
    leaves = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(X, y)
    answers = {}
    for name, flavor, model, options, answer in [
        ("pipeline", mlflow.sklearn, pipeline, {"input_example": X.head(2)}, pipeline.predict_proba(X)[:, 1]),
        ("forest", mlflow.sklearn, forest, {"skops_trusted_types": trees}, forest.predict_proba(X)[:, 1]),
        (
            "pickled",
            mlflow.sklearn,
            forest,
            {"serialization_format": "cloudpickle"},
            forest.predict_proba(X)[:, 1],
        ),
        ("xgboost", mlflow.xgboost, boosted, {}, boosted.predict_proba(X)[:, 1]),
        (
            "booster",
            mlflow.xgboost,
            boosted.get_booster(),
            {"model_format": "json"},
            boosted.predict_proba(X)[:, 1],
        ),
        ("lightgbm", mlflow.lightgbm, leaves.booster_, {}, leaves.predict_proba(X)[:, 1]),
    ]:
        signature = mlflow.models.infer_signature(X, answer)
        flavor.save_model(model, folder / name, signature=signature, pip_requirements=["mlflow"], **options)
        answers[name] = answer.tolist()
    (folder / "answers.json").write_text(json.dumps(answers))


def load(folder, frame):
    X = pd.DataFrame(**json.loads(frame.read_text()))  # pandas itself reads numbers with fewer digits
    answer = np.asarray(mlflow.pyfunc.load_model(str(folder)).predict(X))
    said = {"pyfunc": (answer[:, -1] if answer.ndim == 2 else answer).tolist()}
    if "sklearn" in mlflow.models.Model.load(str(folder)).flavors:
        said["sklearn"] = mlflow.sklearn.load_model(str(folder)).predict_proba(X)[:, 1].tolist()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    if sys.argv[1] == "save":
        save(Path(sys.argv[2]))
    else:
        load(Path(sys.argv[2]), Path(sys.argv[3]))
