"""Names, aliases, labels and sources: what may be, and what a refusal says."""

from __future__ import annotations

import pytest

from homeostat.domain.errors import BadReference, BadRequest
from homeostat.domain.refs import Ref, parse_ref
from homeostat.engine.registry import names, sources
from homeostat.engine.registry.sources import Registered


@pytest.mark.parametrize("name", ["churn", "a b", "é", "a@b", "%", ".a", "a.", "x" * 256, "a\\b", "😀"])
def test_names_that_may_be(name: str) -> None:
    names.check_model_name(name)
    ref = Ref("model", name).at(3)
    assert parse_ref(str(ref)) == ref


@pytest.mark.parametrize("name", ["", "  ", "x" * 257, "a/b", "a:b", ".", "..", "../a", "..a"])
def test_names_that_may_not(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        names.check_model_name(name, "new_name")
    assert refused.value.field == "new_name"


def test_two_models_never_have_one_reference() -> None:
    assert str(Ref("model", "a@1")) != str(Ref("model", "a").at(1))
    assert parse_ref("model/a@1") == Ref("model", "a", "1")
    assert parse_ref("model/a%401") == Ref("model", "a@1")
    assert "\n" not in str(Ref("model", "a\nb"))


@pytest.mark.parametrize(
    "text", ["dataset/a b", "model/", "model/a@", "model/a/b", "model/a@b@c", "pipeline/é"]
)
def test_only_models_have_names_of_any_text(text: str) -> None:
    with pytest.raises(BadReference):
        parse_ref(text)


@pytest.mark.parametrize("alias", ["champion", "A_1-b", "x" * 255, "é", "1", "version1", "latest2"])
def test_aliases_that_can_be_set(alias: str) -> None:
    names.check_settable(alias)


@pytest.mark.parametrize("alias", ["", "a b", "a.b", "a/b", "x" * 256, "latest", "LaTest", "v1", "V22"])
def test_aliases_that_cannot_be_set(alias: str) -> None:
    with pytest.raises(BadRequest):
        names.check_settable(alias)


def test_labels_however_they_are_written() -> None:
    assert [names.label_of(text) for text in ("none", "STAGING", "Production", "archived")] == list(
        names.LABELS
    )
    with pytest.raises(BadRequest, match="must be one of None, Staging, Production, Archived"):
        names.label_of("live")


@pytest.mark.parametrize(
    "source",
    [
        "http://h/x",
        "HTTPS://h/x",
        "ftp:///x",
        "hdfs://h/x",
        "r2://b@h/x",
        "mlflow-artifacts://host:9000/models",
    ],
)
def test_sources_name_no_host_to_connect_to(source: str) -> None:
    with pytest.raises(BadRequest, match="scheme") as refused:
        sources.check_host(source)
    assert refused.value.field == "source"


@pytest.mark.parametrize(
    "source", ["s3://bucket/a", "mlflow-artifacts:/1/a", "runs:/a/b", "/tmp", "models:/a/1"]
)
def test_sources_whose_host_is_no_matter(source: str) -> None:
    sources.check_host(source)


@pytest.mark.parametrize(
    "source",
    [
        "s3://b/a/../c",
        "s3://b/a/./c",
        "s3://b",
        "dbfs:a/b",
        "mlflow-artifacts:/a/%2e%2e/b",
        "mlflow-artifacts:/a/%252e%252e%252fb",
        "mlflow-artifacts:/a%00",
        "dbfs:/a/b%3f/../../c",
        "runs:/",
    ],
)
def test_sources_that_step_out_of_what_they_name(source: str) -> None:
    with pytest.raises(BadRequest, match="Invalid model version source"):
        sources.check_path(source)


@pytest.mark.parametrize(
    "source", ["s3://b/a", "s3:/b/a///", "runs:/1/a//b", "mlflow-artifacts:/a/..../b", "x:/a+b"]
)
def test_sources_that_stay_where_they_are(source: str) -> None:
    sources.check_path(source)


def test_what_lies_within_a_root() -> None:
    root = "mlflow-artifacts:/1/run/artifacts"
    assert sources.is_within(root, root)
    assert sources.is_within(f"{root}/a%20b//c", root)
    assert not sources.is_within("mlflow-artifacts:/1/run/artifacts2", root)
    assert not sources.is_within("s3:/1/run/artifacts/a", root)
    assert not sources.is_within("mlflow-artifacts:/a", "mlflow-artifacts:/")
    assert sources.is_local_within("/data/run/model/..", "file:///data/run")
    assert not sources.is_local_within("/data/run/../other", "file:///data/run")
    assert not sources.is_local_within("/data/run", root)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("models:/churn/3", Registered(name="churn", version=3)),
        ("models:/churn/latest", Registered(name="churn")),
        ("models:/churn/Staging", Registered(name="churn", label="Staging")),
        ("models:/churn@champion", Registered(name="churn", alias="champion")),
        ("models:/a@b@c", Registered(name="a@b", alias="c")),
        ("models:/m-0f4c", Registered(logged="m-0f4c")),
        ("s3://models/churn/3", None),
    ],
)
def test_what_a_source_of_the_registry_names(source: str, named: Registered | None) -> None:
    assert sources.registered_of(source) == named


@pytest.mark.parametrize(
    "source", ["models:/", "models:/a/b/c", "models:/a@", "models:/@a", "models:/a/ ", "models://h/a/1"]
)
def test_sources_of_the_registry_that_name_nothing(source: str) -> None:
    with pytest.raises(BadRequest, match="Invalid model version source"):
        sources.registered_of(source)


def test_runs_and_other_disks() -> None:
    assert sources.run_of("runs:/abc/model") == "abc"
    assert sources.run_of("s3://abc/model") is None
    for source in ("runs:/", "runs://host/abc"):
        with pytest.raises(BadRequest):
            sources.run_of(source)
    assert sources.is_local("C:\\model")
    with pytest.raises(BadRequest, match="not a valid remote uri"):
        sources.is_local("file://elsewhere/model")
    with pytest.raises(BadRequest, match="no URI"):
        sources.is_local("x://[")
