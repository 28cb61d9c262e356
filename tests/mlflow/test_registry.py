"""The registry through the official client: by hand, from a run, as prompts, and what the loop made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import homeostat as hs
from homeostat.app.apply import apply
from homeostat.app.container import Container
from homeostat.app.projects import load_project
from homeostat.app.settings import Settings
from tests.mlflow.official import Client, Evaluator
from tests.server.ups import Up, eventually

pytestmark = pytest.mark.slow

PROJECT = """
import homeostat as hs
from sklearn.linear_model import LogisticRegression

class Row(hs.Contract):
    id: str
    x: float
    late: bool | None

def train(data):
    return LogisticRegression().fit(data.X, data.y)

rows = hs.Dataset("rows", key="id", contract=Row)
delay = hs.Model("delay", task=hs.Binary(label="late", source=rows), train=train)
"""


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose project has trained two versions."""
    folder = tmp_path_factory.mktemp("looped")
    (folder / "project.py").write_text(PROJECT)
    with Container(Settings(home=folder / "home")) as container:
        apply(container, load_project(folder))
    up = Up(folder / "home").ready()
    with hs.Client(up.note.server) as asked:
        asked.ingest("rows", [{"id": f"r{n}", "x": n % 7.0, "late": n % 7 > 3} for n in range(200)])
        for number in (1, 2):
            asked.train("delay", tags={"try": str(number)})
            eventually(lambda wanted=number: asked.model("delay").model.aliases.get("champion") == wanted)
    yield up.note.server
    up.stop()


def test_models_versions_and_aliases(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        from mlflow.exceptions import MlflowException

        client = mlflow.MlflowClient()

        def refused(call: Any, *args: Any, **given: Any) -> str:
            try:
                call(*args, **given)
            except MlflowException as error:
                return str(error.error_code)
            return "not refused"

        made = client.create_registered_model("tide", tags={"sea": "north"}, description="high water")
        first = client.create_model_version("tide", "s3://bucket/1", tags={"a": "1"}, description="first")
        second = client.create_model_version("tide", "runs:/abc/model", run_id="abc")
        client.set_registered_model_alias("tide", "champion", 1)
        client.set_registered_model_alias("tide", "next", 2)
        client.set_model_version_tag("tide", "2", "b", "2")
        client.update_model_version("tide", 2, description="second")
        client.set_registered_model_tag("tide", "depth", "deep")
        client.delete_registered_model_tag("tide", "sea")
        moved = client.transition_model_version_stage("tide", 1, "Production")
        copied = client.copy_model_version("models:/tide@champion", "neap")
        champion = client.get_model_version_by_alias("tide", "champion")
        newest = client.get_model_version_by_alias("tide", "latest")
        latest = client.get_latest_versions("tide")
        model = client.get_registered_model("tide")
        searched = client.search_model_versions("name = 'tide' AND tags.b = '2'")
        taken = refused(client.create_registered_model, "tide")
        client.rename_registered_model("tide", "spring tide")
        client.delete_model_version("spring tide", "2")
        again = client.create_model_version("spring tide", "s3://bucket/3")
        gone = client.get_registered_model("spring tide").aliases
        outcome = {
            "made": [made.name, made.tags, made.description, first.version, second.version],
            "moved": moved.current_stage,
            "copied": [copied.name, copied.source, client.get_model_version_download_uri("neap", 1)],
            "champion": [champion.version, champion.tags, champion.description, list(champion.aliases)],
            "newest": [newest.version, newest.run_id, newest.description],
            "latest": sorted([one.version, one.current_stage] for one in latest),
            "model": [model.tags, model.aliases],
            "searched": [one.version for one in searched],
            "again": again.version,
            "gone": gone,
            "refusals": [
                taken,
                refused(client.get_registered_model, "tide"),
                refused(client.get_model_version, "spring tide", 2),
                refused(client.set_registered_model_alias, "spring tide", "latest", 1),
                refused(client.get_model_version_by_alias, "spring tide", "next"),
                refused(client.create_model_version, "spring tide", "/etc"),
            ],
        }
        for name in ("spring tide", "neap"):
            client.delete_registered_model(name)
        outcome["left"] = [one.name for one in client.search_registered_models("name ILIKE 'SPRING T%'")]
        return outcome

    assert client(script) == {
        "made": ["tide", {"sea": "north"}, "high water", "1", "2"],
        "moved": "Production",
        "copied": ["neap", "models:/tide/1", "s3://bucket/1"],
        "champion": ["1", {"a": "1"}, "first", ["champion"]],
        "newest": ["2", "abc", "second"],
        "latest": [["1", "Production"], ["2", "None"]],
        "model": [{"depth": "deep"}, {"champion": "1", "next": "2"}],
        "searched": ["2"],
        "again": "3",
        "gone": {"champion": "1"},
        "refusals": [
            "RESOURCE_ALREADY_EXISTS",
            "RESOURCE_DOES_NOT_EXIST",
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
            "INVALID_PARAMETER_VALUE",
            "INVALID_PARAMETER_VALUE",
        ],
        "left": [],
    }


def test_pages_in_any_order(client: Client) -> None:
    def script() -> list[list[str]]:
        import mlflow

        client = mlflow.MlflowClient()
        for number in range(7):
            client.create_registered_model(f"page{number}", tags={"odd": str(number % 2)})
            client.create_model_version(f"page{number}", f"s3://bucket/{number}")

        def pages(search: Any, filter: str, order: list[str]) -> list[str]:
            found, token = [], None
            while token != "":
                page = search(filter, max_results=2, order_by=order, page_token=token)
                found += [one.name for one in page]
                token = page.token or ""
            return found

        return [
            pages(client.search_registered_models, "name LIKE 'page%'", ["name DESC"]),
            pages(client.search_registered_models, "tags.odd = '1' AND name LIKE 'page%'", []),
            pages(client.search_model_versions, "name LIKE 'page%'", ["version_number", "name"]),
            pages(client.search_model_versions, "name LIKE 'page%'", []),
        ]

    names = [f"page{number}" for number in range(7)]
    assert client(script) == [names[::-1], names[1::2], names, names[::-1]]


def test_a_model_from_a_run_into_the_registry_and_back(client: Client) -> None:
    def script() -> dict[str, Any]:
        import json

        import mlflow
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        mlflow.set_experiment("into the registry")
        X = np.array([[0.0], [1.0], [2.0], [3.0]])
        with mlflow.start_run() as run:
            logged = mlflow.sklearn.log_model(
                LogisticRegression().fit(X, [0, 0, 1, 1]), name="clf", registered_model_name="ebb"
            )
        client = mlflow.MlflowClient()
        first = client.get_model_version("ebb", 1)
        second = mlflow.register_model(logged.model_uri, "ebb", tags={"by": "hand"})
        client.set_registered_model_alias("ebb", "champion", 2)
        loaded = mlflow.sklearn.load_model("models:/ebb@champion")
        by_function = mlflow.pyfunc.load_model("models:/ebb/1")
        told = json.loads(client.get_logged_model(logged.model_id).tags["mlflow.modelVersions"])
        return {
            "run": [first.run_id == run.info.run_id, second.run_id == run.info.run_id],
            "tags": client.get_model_version("ebb", 2).tags,
            "predicted": [loaded.predict(X).tolist(), by_function.predict(X).tolist()],
            "told": sorted({(one["name"], int(one["version"])) for one in told}),  # by server and client
        }

    assert client(script) == {
        "run": [True, True],
        "tags": {"by": "hand"},
        "predicted": [[0, 0, 1, 1], [0, 0, 1, 1]],
        "told": [["ebb", 1], ["ebb", 2]],
    }


def test_prompts(client: Client) -> None:
    def script() -> dict[str, Any]:
        import mlflow

        mlflow.genai.register_prompt("greet", "Hi {{name}}", commit_message="first", tags={"tone": "warm"})
        second = mlflow.genai.register_prompt("greet", "Hello {{name}}")
        mlflow.genai.set_prompt_alias("greet", alias="live", version=1)
        live = mlflow.genai.load_prompt("prompts:/greet@live")
        client = mlflow.MlflowClient()
        return {
            "versions": [live.version, second.version],
            "texts": [live.format(name="you"), mlflow.genai.load_prompt("prompts:/greet/2").template],
            "found": [prompt.name for prompt in mlflow.genai.search_prompts("name = 'greet'")],
            "models": [one.name for one in client.search_registered_models("name = 'greet'")],
            "message": live.commit_message,
        }

    assert client(script) == {
        "versions": [1, 2],
        "texts": ["Hi you", "Hello {{name}}"],
        "found": ["greet"],
        "models": [],
        "message": "first",
    }


def test_what_the_loop_made(evaluator: Evaluator, looped: str) -> None:
    def script() -> dict[str, Any]:
        import mlflow
        from mlflow.exceptions import MlflowException

        client = mlflow.MlflowClient()
        champion = client.get_model_version_by_alias("delay", "champion")
        folder = mlflow.artifacts.download_artifacts("models:/delay@champion")
        versions = client.search_model_versions("name = 'delay'", order_by=["version_number ASC"])
        client.set_registered_model_alias("delay", "champion", 1)
        promoted = client.get_model_version_by_alias("delay", "champion").version
        said = []
        for refused in (
            lambda: client.delete_registered_model("delay"),
            lambda: client.rename_registered_model("delay", "other"),
            lambda: client.delete_model_version("delay", 1),
            lambda: client.delete_registered_model_alias("delay", "champion"),
        ):
            try:
                refused()
            except MlflowException as error:
                said.append([error.error_code, error.message])
        return {
            "champion": [champion.version, champion.tags, champion.status, champion.status_message],
            "folder": folder,
            "versions": [[one.version, one.tags, one.current_stage] for one in versions],
            "promoted": promoted,
            "said": said,
        }

    gave = evaluator.call(looped, script)
    assert gave["champion"] == ["2", {"try": "2"}, "READY", "champion: it passed its gates"]
    assert {"MLmodel", "conda.yaml", "homeostat"} <= {file.name for file in Path(gave["folder"]).iterdir()}
    assert gave["versions"] == [["1", {"try": "1"}, "None"], ["2", {"try": "2"}, "None"]]
    assert gave["promoted"] == "1"
    assert [code for code, _ in gave["said"]] == ["INVALID_PARAMETER_VALUE"] * 4
    assert "declares it" in gave["said"][0][1]
    with hs.Client(looped) as asked:
        deployment = asked.deployments()[0]
        assert [arm["version"] for arm in deployment["arms"]] == [1]
        moves = asked.events(subject="model/delay@champion")
        assert [event.body["to"] for event in moves] == [1, 2, 1]
        assert asked.live_at("delay", moves[1].at).version == 2
        assert asked.compare("model/delay@1", "model/delay@2").same["data"] == 1
        assert [one.record.name for one in asked.models("name = 'delay'").models] == ["delay"]
