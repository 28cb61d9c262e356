"""A card says what the records hold, lists what nobody said, and validates as a bill of materials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from homeostat.app import approvals, signatures
from homeostat.app.container import Container
from homeostat.app.modelcard import bill_of_materials, card
from homeostat.app.reactors import react_all
from homeostat.app.registry import deprecation, directories, models, versions
from homeostat.app.registry.contents import whole_version
from homeostat.app.registry.trees import held
from homeostat.app.settings import Settings
from homeostat.cli.program import app
from homeostat.domain.errors import DeclarationError, HomeostatError, NotFound
from homeostat.engine.registry import bom
from homeostat.engine.registry.card import STATEMENTS, Card
from homeostat.engine.registry.cardpage import markdown
from homeostat.engine.registry.exporting import mlflow_files
from homeostat.engine.registry.signing import fingerprint, sign
from homeostat.server.api import Api
from tests.app.churning import declare, trained
from tests.engine.registry.keys import Key
from tests.engine.registry.packing import X, Y, packed


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A version that was trained, judged, signed and approved."""
    folder = tmp_path_factory.mktemp("card")
    with Container(Settings(home=folder / "home")) as made:
        declare(made, folder / "project", 'approval=hs.approval(), card={"owner": "risk"},')
        trained(made, C=2.0)
        key = Key(folder, "release")
        signed = sign(directories.export_files(made, "churn", "1", "package"), key.private)
        signatures.add(made, "churn", "1", signed)
        approvals.approve(made, "churn", 1, actor="bob", reason="read it")
        react_all(made)
        yield made


@pytest.fixture
def container(trained_once: Container) -> Container:
    """For those who only read."""
    return trained_once


def test_a_card_is_made_of_facts(container: Container) -> None:
    found = card(container, "churn")
    assert (found.ref, found.stage, found.aliases) == ("model/churn@1", "champion", ["champion"])
    (data,) = found.contents.data
    assert (data.ref, data.rows) == ("dataset/customers@1", 600)
    assert found.metrics["holdout_auc"] > 0.5
    assert {gate.gate.split()[0] for gate in found.gates} == {"worst", "calibrated"}
    assert found.training["asked_by"] == "ann"
    assert found.statements == {"owner": "risk"}
    assert "dataset/customers@1" in found.lineage
    assert found.serving == ["deployment/churn: champion with 100% of the traffic"]
    assert [(one.actor, one.reason) for one in found.approvals] == [("bob", "read it")]
    assert found.signed_by == [fingerprint((container.settings.home.parent / "release.pub").read_text())]
    assert found.slo["auc"] == 0.6
    text = " ".join(found.limits)
    assert "usage is not at least -9 and at most 9" in text
    assert "plan is not one of a, b, c" in text
    assert "c (" in text  # too few rows to judge
    sent = msgspec.json.decode(msgspec.json.encode(found), type=Card)
    assert msgspec.json.encode(sent).replace(b".0,", b",") == msgspec.json.encode(found).replace(b".0,", b",")


def test_a_version_is_shown_with_all_its_parts(container: Container) -> None:
    shown = whole_version(container, "churn", "champion")
    of = shown.contents
    assert of is not None
    assert [(one.name, one.type, one.unit) for one in of.request] == [
        ("id", "integer", None),
        ("plan", "string", None),
        ("usage", "float", "GB"),
    ]
    assert [one.name for one in of.features] == ["asked__usage", "asked__is_a"]
    assert [one.name for one in of.answers] == ["churned"]
    assert of.shapes == {"features": [-1, 2], "request": [-1, 3], "answers": [-1]}
    assert of.example["id"] == 599
    assert of.environment["scikit-learn"]
    assert of.environment["python"]
    assert of.lock == shown.record.manifest["files"]["environment.txt"]
    assert of.code.startswith("sha256:")
    assert of.views == ["feature-view/asked@1"]
    assert of.params == {"C": 2.0}
    assert of.run == f"run/{shown.record.run}"
    printed = CliRunner().invoke(
        app, ["models", "show", "churn@1", "--home", str(container.settings.home)], catch_exceptions=False
    )
    for part in (
        *("dataset/customers@1", "feature-view/asked@1", of.code, of.lock, "C=2.0", "id=599", of.run),
        *("features (n, 2)", "answers (n,)", "GB", "asked__is_a", "holdout_auc", shown.record.digest),
    ):
        assert part in printed.output


def test_what_nobody_said_is_listed_until_somebody_says_it(container: Container) -> None:
    missing = {one.field for one in card(container, "churn").missing}
    assert missing == {"description", *STATEMENTS} - {"owner"}
    models.describe(container, "churn", "Who leaves next month")
    for name in STATEMENTS:
        models.tag(container, "churn", f"card.{name}", f"the {name} of all")
    versions.tag(container, "churn", 1, "card.owner", "Ann of <b>risk</b>")
    found = card(container, "churn", "1")
    assert found.missing == []
    assert found.statements["owner"] == "Ann of <b>risk</b>"
    page = markdown(found)
    assert "Who leaves next month" in page
    assert "Ann of &lt;b>risk&lt;/b>" in page
    assert "the ethical_considerations of all" in page
    for name in STATEMENTS:
        models.untag(container, "churn", f"card.{name}")
    versions.untag(container, "churn", 1, "card.owner")
    models.describe(container, "churn", "")


def test_the_page_has_the_sections_of_a_card(container: Container) -> None:
    page = markdown(card(container, "churn"))
    for title in (
        *("Model details", "Intended use", "Factors", "Metrics", "Gates", "Training data", "Features"),
        *("Ethical considerations", "Caveats and limits", "Environment", "Lineage", "Missing"),
    ):
        assert f"\n## {title}\n" in page
    assert "| slice | value | rows |" in page
    assert "| predicted | observed | rows |" in page
    assert "*out of scope is missing: what it must not be used for*" in page
    assert "**license**: under which licence" in page
    assert "in a tag card.license" in page


def test_the_bill_of_materials_is_valid_cyclonedx(container: Container) -> None:
    # Importing it takes seconds, for the grammars of addresses: not where these tests are only collected.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = card(container, "churn")
    data = bill_of_materials(found)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    assert bill_of_materials(found) == data
    said = json.loads(data)
    about = said["metadata"]["component"]
    assert (said["specVersion"], about["type"]) == ("1.6", "machine-learning-model")
    assert about["hashes"][0]["content"] == found.digest.removeprefix("sha256:")
    measured = about["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type", "value", "slice"} in [set(one) for one in measured]
    assert {one["type"] for one in said["components"]} == {"file", "data", "library"}
    refs = {one["bom-ref"] for one in said["components"]}
    assert {one["ref"] for one in about["modelCard"]["modelParameters"]["datasets"]} <= refs
    for change in ({"bomFormat": "Other"}, {"components": [{"type": "spoon", "name": "x"}]}):
        with pytest.raises(HomeostatError, match=r"no CycloneDX 1\.6"):
            bom.validate(json.dumps(said | change).encode())


def test_an_imported_model_has_a_card_that_says_what_it_lacks(container: Container) -> None:
    from sklearn.linear_model import LogisticRegression

    files = packed(LogisticRegression().fit(X.fill_null(0), Y))
    made = mlflow_files(files, digest="sha256:00", created=container.clock.now(), code={})
    plain = {name: data for name, data in made.items() if not name.startswith("homeostat/")}
    directories.import_directory(container, "other", held(plain))
    models.tag(container, "other", "card.license", "Apache-2.0")
    found = card(container, "other")
    assert [column.name for column in found.contents.features] == ["a", "b", "c"]
    assert found.contents.environment["scikit-learn"] == "1.9.0"
    missing = {one.field for one in found.missing}
    assert {"data", "gates", "metrics", "code"} <= missing
    assert not missing & {"license", "features", "environment"}
    said = json.loads(bill_of_materials(found))
    assert said["metadata"]["component"]["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    with pytest.raises(NotFound):
        card(container, "other", "7")


def test_a_project_says_what_a_card_has_a_place_for(tmp_path: Path) -> None:
    with (
        Container(Settings(home=tmp_path / "home")) as container,
        pytest.raises(DeclarationError, match="card says 'colour'"),
    ):
        declare(container, tmp_path / "project", 'card={"colour": "red"},')


def test_the_api_and_the_commands(container: Container, tmp_path: Path) -> None:
    deprecation.deprecate(container, "churn", "1", on=datetime(2099, 1, 1, tzinfo=UTC), reason="old")
    with ThreadPoolExecutor(1) as pool:
        client = TestClient(Api(container, pool), base_url="http://127.0.0.1")
        path = "/models/churn/versions/latest"
        assert client.get(f"{path}/card").json()["ref"] == "model/churn@1"
        assert client.get(f"{path}/bom").json()["bomFormat"] == "CycloneDX"
        assert client.get(path).json()["contents"]["params"] == {"C": 2.0}
        assert client.get("/models/churn/versions/7/card").status_code == 404
    home = ["--home", str(container.settings.home)]
    shown = CliRunner().invoke(app, ["models", "card", "churn@1", *home])
    assert shown.output.startswith("# Model card: model/churn@1")
    assert "**Deprecated from 2099-01-01 on: old**" in shown.output
    shown = CliRunner().invoke(app, ["models", "card", "churn", "--json", *home])
    assert json.loads(shown.output)["version"] == 1
    file = tmp_path / "bom.json"
    CliRunner().invoke(app, ["models", "bom", "churn", "--out", str(file), *home])
    bom.validate(file.read_bytes())
    deprecation.undo(container, "churn", "1")
