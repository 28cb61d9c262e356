"""``homeostat models``: what it prints, for people and for programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.registry import aliases, models, versions
from homeostat.app.settings import Settings
from tests.cli.invoking import Shell


@pytest.fixture
def registry(homeostat: Shell) -> Shell:
    """The command, in a folder whose store has two models."""
    with Container(Settings(home=Path(homeostat.folder) / ".homeostat")) as container:
        models.register(container, "churn", description="who leaves\nand why", tags={"team": "risk"})
        models.register(container, "other")
        for number in (1, 2):
            tags = {"try": str(number)}
            versions.create(container, "churn", "s3://bucket/model", run=f"r{number}", tags=tags)
        aliases.set_alias(container, "churn", "champion", 1)
        aliases.set_alias(container, "churn", "next", 2)
        versions.label(container, "churn", 2, "Staging")
    return homeostat


def test_models_are_listed(registry: Shell) -> None:
    told = registry("models", "ls").out
    assert "churn  2       champion @1, next @2" in told
    assert "who leaves\n" in told
    assert "and why" not in told
    assert "other" in told
    found = registry("models", "ls", "-f", "tags.team = 'risk'", "--json").json
    assert [one["record"]["name"] for one in found["models"]] == ["churn"]
    assert "There are more than 1" in registry("models", "ls", "--limit", "1").out


def test_a_model_is_shown(registry: Shell) -> None:
    told = registry("models", "show", "churn").out
    assert "team=risk" in told
    assert [line.split()[:4] for line in told.splitlines() if "run/" in line] == [
        ["2", "registered", "Staging", "next"],
        ["1", "registered", "champion", "run/r1"],
    ]
    assert registry("models", "show", "model/churn", "--json").json["model"]["aliases"] == {
        "champion": 1,
        "next": 2,
    }


def test_a_version_is_shown(registry: Shell) -> None:
    for ref in ("churn@1", "churn@champion", "model/churn@1"):
        told = registry("models", "show", ref).out
        assert "model/churn@1" in told
        assert "try=1" in told
    assert registry("models", "show", "churn@next", "--json").json["record"]["version"] == 2


@pytest.mark.parametrize(
    ("flavors", "kept", "refused"),
    [
        ("sklearn: {pickled_model: m, serialization_format: skops}", "sklearn, as skops", False),
        ("sklearn: {pickled_model: m}", "sklearn, a pickle", True),
        ("lightgbm: {data: m}", "lightgbm", False),
        (
            "lightgbm: {data: m, model_class: lightgbm.sklearn.LGBMClassifier}",
            "lightgbm, a cloudpickle",
            True,
        ),
        ("onnx: {data: m}", "onnx", False),
        ("python_function: {loader_module: mine}", "python_function, with code of its own", True),
        ("tensorflow: {}", "tensorflow: nothing that loads here", False),
    ],
)
def test_what_comes_in_says_how_it_is_kept(
    homeostat: Shell, tmp_path: Path, flavors: str, kept: str, refused: bool
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(f"flavors:\n  {flavors}\n")
    (folder / "m").write_bytes(b"\0")
    told = homeostat("models", "import", "churn", str(folder)).out
    assert f"Its model is kept as {kept}" in told
    assert ("--allow-pickle" in told) is refused
    shown = homeostat("models", "show", "churn@1", "--json").json["contents"]["kept_as"]
    assert shown.startswith(kept)


def test_versions_are_compared(registry: Shell) -> None:
    told = registry("models", "diff", "churn@champion", "2").out
    assert told.splitlines()[0].split() == ["model/churn@1", "model/churn@2"]
    assert "tags     try    1              2" in told
    assert "The same: 1 version." in told
    assert "do not differ" in registry("models", "diff", "churn@1", "churn@champion").out
    found = registry("models", "diff", "churn@1", "churn@2", "--json").json
    assert {"group": "tags", "name": "try", "old": "1", "new": "2"} in found["differences"]


def test_what_was_live(registry: Shell) -> None:
    told = registry("models", "at", "churn", "2100-01-01").out
    assert "At 2100-01-01 00:00:00, model/churn@champion was @1, since" in told
    assert "by user: set by hand (event" in told
    assert "pointed to nothing" in registry("models", "at", "churn@next", "2013-01-01T12:00+02:00").out
    assert registry("models", "at", "churn@next", "2100-01-01", "--json").json["version"] == 2


def test_refusals_say_what_to_do(registry: Shell) -> None:
    assert "'then' is no time" in registry("models", "at", "churn", "then", status=1).err
    assert "knows no model/none" in registry("models", "at", "none", "2013-01-01", status=1).err
    assert "name=none not found" in registry("models", "show", "none", status=1).err
    assert "homeostat models show churn lists" in registry("models", "show", "churn@nobody", status=1).err
    assert "is no reference" in registry("models", "show", "a/b/c", status=1).err


def test_models_and_versions_are_marked(registry: Shell) -> None:
    assert "model/churn@staging points to @2" in registry("models", "alias", "churn@2", "staging").out
    registry("models", "alias", "churn@next", "--remove")
    registry("models", "tag", "churn", "owner=ann", "--remove", "team", "--as", "bob")
    registry("models", "tag", "churn@staging", "try=third")
    registry("models", "describe", "churn", "Who leaves")
    registry("models", "describe", "churn@2", "The better one")
    found = registry("models", "show", "churn", "--json").json["model"]
    assert (found["aliases"], found["tags"]) == ({"champion": 1, "staging": 2}, {"owner": "ann"})
    assert found["record"]["description"] == "Who leaves"
    version = registry("models", "show", "churn@2", "--json").json
    assert (version["tags"], version["record"]["description"]) == ({"try": "third"}, "The better one")
    for wrong in (["alias", "churn@1"], ["alias", "churn@1", "x", "--remove"], ["tag", "churn"]):
        assert registry("models", *wrong, status=1).err.startswith("error:")


def test_what_happened_is_told(registry: Shell) -> None:
    registry("models", "alias", "churn@2", "champion", "--as", "ann")
    told = registry("models", "history", "churn@champion").out.splitlines()
    assert "alias-moved" in told[1]
    assert "ann" in told[1]
    assert "alias champion, from 1, to 2" in told[1].replace(", reason set by hand", "")
    events = registry("models", "history", "churn", "--json").json
    assert {one["kind"] for one in events} >= {
        "model.alias-moved",
        "model.version-created",
        "model.stage-set",
    }
    assert "not found" in registry("models", "history", "nothing", status=1).err
