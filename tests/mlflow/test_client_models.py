"""Models through the official client: logged, loaded by every name they have, and registered."""

from __future__ import annotations

from typing import Any

from tests.mlflow.official import Client


def test_a_model_logged_loaded_and_registered(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        asking = mlflow.MlflowClient()
        rows = np.random.default_rng(0).random((50, 3))
        labels = (rows[:, 0] > 0.5).astype(int)
        model = LogisticRegression().fit(rows, labels)
        expected = model.predict(rows).tolist()
        mlflow.set_experiment("models")
        with mlflow.start_run() as run:
            info = mlflow.sklearn.log_model(
                model,
                name="tree",
                input_example=rows[:2],
                params={"p": "1"},
                registered_model_name="tides",
                pip_requirements=["scikit-learn"],  # finding out takes it ten seconds
            )
            dataset = mlflow.data.from_numpy(rows, name="rows")
            mlflow.log_metric("accuracy", 0.9, step=2, model_id=info.model_id, dataset=dataset)
            second = mlflow.sklearn.log_model(
                model, name="tree", model_type="late", pip_requirements=["scikit-learn"]
            )
        version = asking.search_model_versions(f"run_id='{run.info.run_id}'")[0]
        asking.set_registered_model_alias("tides", "best", version.version)
        by_run = mlflow.register_model(f"runs:/{run.info.run_id}/tree", "by-run")
        uris = [
            info.model_uri,
            f"models:/{info.model_id}",
            f"runs:/{run.info.run_id}/tree",
            f"models:/tides/{version.version}",
            "models:/tides@best",
            f"models:/by-run/{by_run.version}",
        ]
        loaded = [mlflow.sklearn.load_model(uri).predict(rows).tolist() == expected for uri in uris]
        again = mlflow.pyfunc.load_model(info.model_uri)
        known = asking.get_logged_model(info.model_id)
        outputs = asking.get_run(run.info.run_id).outputs.model_outputs
        return {
            "loaded": loaded,
            "pyfunc": again.predict(rows).tolist() == expected,
            "signature": again.metadata.signature is not None,
            "status": str(known.status),
            "params": known.params,
            "metrics": [[m.key, m.value, m.step, m.dataset_name] for m in known.metrics],
            "source": known.source_run_id == run.info.run_id,
            "outputs": sorted(o.model_id for o in outputs) == sorted([info.model_id, second.model_id]),
            "type": asking.get_logged_model(second.model_id).model_type,
            "listed": "tree/MLmodel" in [f.path for f in asking.list_artifacts(run.info.run_id, "tree")],
            "files": "MLmodel" in [f.path for f in asking.list_logged_model_artifacts(info.model_id)],
        }

    assert client(script) == {
        "loaded": [True] * 6,
        "pyfunc": True,
        "signature": True,
        "status": "READY",
        "params": {"p": "1"},
        "metrics": [["accuracy", 0.9, 2, "rows"]],
        "source": True,
        "outputs": True,
        "type": "late",
        "listed": True,
        "files": True,
    }


def test_logged_models_without_a_run(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        from mlflow.exceptions import MlflowException

        asking = mlflow.MlflowClient()
        experiment = mlflow.set_experiment("logged models").experiment_id
        made = mlflow.initialize_logged_model(name="mine", params={f"k{n}": str(n) for n in range(250)})
        pending = str(asking.get_logged_model(made.model_id).status)
        ready = str(mlflow.finalize_logged_model(made.model_id, "READY").status)
        outside = mlflow.create_external_model(name="outside", model_type="agent", tags={"a": "b"})
        asking.set_logged_model_tags(made.model_id, {"c": "d", "e": "f"})
        asking.delete_logged_model_tag(made.model_id, "e")
        mlflow.log_model_params({"late": "1"}, model_id=made.model_id)
        with mlflow.start_run():
            for model, value in ((made, 0.3), (outside, 0.7)):
                mlflow.log_metric("loss", value, model_id=model.model_id)

        def names(**asked: Any) -> list[str]:
            found = mlflow.search_logged_models([experiment], output_format="list", **asked)
            return [model.name for model in found]

        pages, token = [], None
        while True:
            page = asking.search_logged_models([experiment], max_results=1, page_token=token)
            pages.append([model.name for model in page])
            token = page.token
            if not token:
                break
        filtered = names(filter_string="metrics.loss > 0.5 AND model_type = 'agent'")
        known = asking.get_logged_model(made.model_id)
        ordered = names(order_by=[{"field_name": "metrics.loss", "ascending": True}])
        asking.delete_logged_model(outside.model_id)
        try:
            asking.get_logged_model(outside.model_id)
        except MlflowException as error:
            gone = error.error_code
        return {
            "status": [pending, ready],
            "params": [len(known.params), known.params["k249"], known.params["late"]],
            "tags": {k: v for k, v in known.tags.items() if not k.startswith("mlflow.")},
            "pages": pages,
            "filtered": filtered,
            "ordered": ordered,
            "gone": gone,
            "left": names(),
        }

    assert client(script) == {
        "status": ["PENDING", "READY"],
        "params": [251, "249", "1"],
        "tags": {"c": "d"},
        "pages": [["outside"], ["mine"]],
        "filtered": ["outside"],
        "ordered": ["mine", "outside"],
        "gone": "RESOURCE_DOES_NOT_EXIST",
        "left": ["mine"],
    }
