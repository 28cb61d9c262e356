"""Model directories as MLflow writes and reads them: functions for the process of its official client."""

from __future__ import annotations

from typing import Any


def save(to: str) -> None:
    """Save models of several flavors in a folder, with rows and what the models answer to them."""
    import json
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

    folder = Path(to)
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


def load(folder: str, rows: dict[str, Any]) -> dict[str, list[float]]:
    """What pyfunc and the flavor of the model in a folder answer."""
    import mlflow
    import numpy as np
    import pandas as pd

    X = pd.DataFrame(**rows)
    answer = np.asarray(mlflow.pyfunc.load_model(folder).predict(X))
    said = {"pyfunc": (answer[:, -1] if answer.ndim == 2 else answer).tolist()}
    if "sklearn" in mlflow.models.Model.load(folder).flavors:
        said["sklearn"] = mlflow.sklearn.load_model(folder).predict_proba(X)[:, 1].tolist()
    return said
