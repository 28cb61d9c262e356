"""Autologging of the libraries that people train with, and their models there and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mlflow.official import Client

pytestmark = pytest.mark.slow


def test_scikit_learn(here: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        import numpy as np
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression

        X, y = load_iris(return_X_y=True)
        mlflow.set_experiment("autolog scikit-learn")
        mlflow.sklearn.autolog()
        try:
            with mlflow.start_run() as run:
                fitted = LogisticRegression(max_iter=200).fit(X, y)
        finally:
            mlflow.sklearn.autolog(disable=True)
        client = mlflow.MlflowClient()
        found = client.get_run(run.info.run_id)
        logged = found.outputs.model_outputs[0].model_id
        version = mlflow.register_model(f"models:/{logged}", "iris")
        client.set_registered_model_alias("iris", "champion", version.version)
        expected = fitted.predict(X)
        same = {
            uri.partition("/")[0] + str(number): bool(
                np.array_equal(mlflow.pyfunc.load_model(uri).predict(X), expected)
            )
            for number, uri in enumerate(
                (
                    f"models:/{logged}",
                    f"runs:/{run.info.run_id}/model",
                    "models:/iris@champion",
                    f"models:/iris/{version.version}",
                )
            )
        }
        return {
            "params": found.data.params["max_iter"],
            "score": found.data.metrics["training_accuracy_score"],
            "estimator": found.data.tags["estimator_name"],
            "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            "inputs": [given.dataset.source_type for given in found.inputs.dataset_inputs],
            "same": same,
            "of_model": {m.key for m in client.get_logged_model(logged).metrics} <= set(found.data.metrics),
        }

    assert here(script) == {
        "params": "200",
        "score": 0.9733333333333334,
        "estimator": "LogisticRegression",
        "files": ["estimator.html", "training_confusion_matrix.png"],
        "inputs": ["code"],
        "same": {"models:0": True, "runs:1": True, "models:2": True, "models:3": True},
        "of_model": True,
    }


def test_xgboost(here: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        import numpy as np
        import xgboost
        from sklearn.datasets import load_diabetes

        X, y = load_diabetes(return_X_y=True)
        data = xgboost.DMatrix(X, label=y)
        mlflow.set_experiment("autolog xgboost")
        mlflow.xgboost.autolog(log_models=False)
        try:
            with mlflow.start_run() as run:
                booster = xgboost.train(
                    {"max_depth": 2}, data, num_boost_round=12, evals=[(data, "train")], verbose_eval=False
                )
                info = mlflow.xgboost.log_model(booster, name="booster", pip_requirements=["xgboost"])
        finally:
            mlflow.xgboost.autolog(disable=True)
        client = mlflow.MlflowClient()
        loaded = mlflow.xgboost.load_model(info.model_uri)
        return {
            "depth": client.get_run(run.info.run_id).data.params["max_depth"],
            "rounds": [m.step for m in client.get_metric_history(run.info.run_id, "train-rmse")],
            "same": bool(np.array_equal(loaded.predict(data), booster.predict(data))),
        }

    assert here(script) == {"depth": "2", "rounds": list(range(12)), "same": True}


def test_lightgbm(here: Client) -> None:
    def script() -> dict[str, Any]:
        import lightgbm
        import mlflow
        import numpy as np
        from sklearn.datasets import load_diabetes

        X, y = load_diabetes(return_X_y=True)
        data = lightgbm.Dataset(X, label=y)
        mlflow.set_experiment("autolog lightgbm")
        mlflow.lightgbm.autolog(log_models=False)
        try:
            with mlflow.start_run() as run:
                booster = lightgbm.train(
                    {"verbosity": -1, "num_leaves": 4}, data, 8, valid_sets=[data], valid_names=["train"]
                )
                info = mlflow.lightgbm.log_model(booster, name="booster", pip_requirements=["lightgbm"])
        finally:
            mlflow.lightgbm.autolog(disable=True)
        client = mlflow.MlflowClient()
        loaded = mlflow.lightgbm.load_model(info.model_uri)
        return {
            "leaves": client.get_run(run.info.run_id).data.params["num_leaves"],
            "rounds": len(client.get_metric_history(run.info.run_id, "train-l2")),
            "same": bool(np.allclose(loaded.predict(X), booster.predict(X))),
        }

    assert here(script) == {"leaves": "4", "rounds": 8, "same": True}


def test_pytorch(here: Client) -> None:
    def script() -> dict[str, Any]:
        import warnings

        import mlflow
        import numpy as np
        import pytorch_lightning
        import torch

        class Line(pytorch_lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(2, 1)

            def forward(self, x: Any) -> Any:
                return self.layer(x)

            def training_step(self, batch: Any, index: int) -> Any:
                loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
                self.log("loss", loss, on_step=False, on_epoch=True)
                return loss

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=0.1)

        torch.manual_seed(7)
        X = torch.randn(32, 2)
        data = torch.utils.data.TensorDataset(X, X @ torch.tensor([[2.0], [-1.0]]))
        mlflow.set_experiment("autolog pytorch")
        mlflow.pytorch.autolog(log_models=True, checkpoint=False)
        try:
            with mlflow.start_run() as run, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # one process reads the data
                model = Line()
                pytorch_lightning.Trainer(
                    max_epochs=4,
                    accelerator="cpu",
                    enable_checkpointing=False,
                    enable_model_summary=False,
                    enable_progress_bar=False,
                    log_every_n_steps=1,
                    logger=False,
                ).fit(model, torch.utils.data.DataLoader(data, batch_size=8))
                info = mlflow.pytorch.log_model(
                    model, name="line", input_example=X.numpy(), pip_requirements=["torch"]
                )
        finally:
            mlflow.pytorch.autolog(disable=True)
        client = mlflow.MlflowClient()
        found = client.get_run(run.info.run_id)
        version = mlflow.register_model(info.model_uri, "line")
        with torch.no_grad():
            expected = model.eval()(X).numpy()
        tensors = mlflow.pytorch.load_model(f"models:/line/{version.version}")
        frames = mlflow.pyfunc.load_model(info.model_uri)
        by_itself = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model")
        return {
            "params": [found.data.params[name] for name in ("epochs", "lr", "optimizer_name")],
            "by itself": bool(np.allclose(by_itself(X).detach().numpy(), expected)),
            "steps": [point.step for point in client.get_metric_history(run.info.run_id, "loss")],
            "native": bool(np.allclose(tensors(X).detach().numpy(), expected)),
            "pyfunc": bool(np.allclose(frames.predict(X.numpy()), expected)),
        }

    assert here(script) == {
        "params": ["4", "0.1", "SGD"],
        "by itself": True,
        "steps": [0, 1, 2, 3],
        "native": True,
        "pyfunc": True,
    }
