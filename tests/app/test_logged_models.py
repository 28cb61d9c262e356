"""Logged models: made, finished, marked, searched and deleted, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.app import tracking
from homeostat.app.container import Container
from homeostat.app.explain import lineage
from homeostat.app.logged_models import (
    Ordering,
    create_logged_model,
    delete_logged_model,
    finalize_logged_model,
    log_logged_model_params,
    logged_model,
    logged_model_data,
    search_logged_models,
    tag_logged_model,
    untag_logged_model,
)
from homeostat.app.registry.models import register
from homeostat.app.registry.versions import create
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, NotFound
from homeostat.domain.events import Edge
from homeostat.engine.tracking.points import Point


@pytest.fixture
def container(tmp_path: Path, store_url: str) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


def test_made_and_finished(container: Container) -> None:
    run = tracking.create_run(container, 0)
    made = create_logged_model(
        container,
        0,
        name="tree",
        type="classifier",
        run=run.id,
        params=[("p", "1")],
        tags={"t": "é"},
        actor="ada",
    )
    assert made.id.startswith("m-")
    assert (made.status, made.artifacts) == ("PENDING", f"mlflow-artifacts:/0/models/{made.id}/artifacts")
    assert logged_model(container, made.id) == made
    done = finalize_logged_model(container, made.id, "READY", message="it is there")
    assert (done.status, done.status_message) == ("READY", "it is there")
    assert done.updated_at > made.updated_at
    data = logged_model_data(container, [made.id, "m-none"])
    assert (data[made.id].params, data[made.id].tags) == ({"p": "1"}, {"t": "é"})
    assert data["m-none"].params == {}
    kinds = [event.kind for event in container.ledger.find(subject=f"logged-model/{made.id}", newest=False)]
    assert kinds == ["logged-model.created", "logged-model.finalized"]
    assert container.ledger.edges(f"logged-model/{made.id}", "up") == [
        Edge(f"run/{run.id}", f"logged-model/{made.id}", "produced")
    ]


def test_a_registered_version_is_followed_back_to_the_run(container: Container) -> None:
    run = tracking.create_run(container, 0)
    made = create_logged_model(container, 0, run=run.id)
    register(container, "tides")
    create(container, "tides", f"models:/{made.id}", logged_model=made.id)
    found = lineage(container, "model/tides@1", "up")
    assert {node["ref"] for node in found["up"]} == {f"run/{run.id}", f"logged-model/{made.id}"}
    assert lineage(container, f"logged-model/{made.id}", "down")["down"][0]["ref"] == "model/tides@1"


def test_one_without_a_name_gets_one(container: Container) -> None:
    first, second = (create_logged_model(container, 0) for _ in range(2))
    assert first.name
    assert first.id != second.id


def test_deleted_and_gone_from_sight(container: Container) -> None:
    made = create_logged_model(container, 0)
    delete_logged_model(container, made.id)
    delete_logged_model(container, made.id)
    with pytest.raises(NotFound, match="not found"):
        logged_model(container, made.id)
    assert logged_model(container, made.id, deleted=True).deleted_at is not None
    assert search_logged_models(container, [0]).items == []
    events = container.ledger.find(subject=f"logged-model/{made.id}", kinds=["logged-model.deleted"])
    assert len(events) == 1


def test_parameters_never_change(container: Container) -> None:
    made = create_logged_model(container, 0, params=[("p", "1")])
    log_logged_model_params(container, made.id, [("p", "1"), ("q", "2")])
    with pytest.raises(BadRequest, match="Changing param values is not allowed"):
        log_logged_model_params(container, made.id, [("r", "3"), ("p", "2")])
    with pytest.raises(BadRequest, match="Duplicate"):
        log_logged_model_params(container, made.id, [("s", "3"), ("s", "2")])
    assert logged_model_data(container, [made.id])[made.id].params == {"p": "1", "q": "2"}


def test_tags_come_and_go(container: Container) -> None:
    made = create_logged_model(container, 0, tags={"a": "1"})
    tag_logged_model(container, made.id, {"a": "2", "b": "3"})
    tag_logged_model(container, made.id, {})
    untag_logged_model(container, made.id, "b")
    with pytest.raises(NotFound, match="No tag with key 'b'"):
        untag_logged_model(container, made.id, "b")
    assert logged_model_data(container, [made.id])[made.id].tags == {"a": "2"}


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", "a'b", 'a"b', "n" * 501])
def test_names_that_cannot_be(container: Container, name: str) -> None:
    with pytest.raises(BadRequest):
        create_logged_model(container, 0, name=name)


def test_what_is_not_there(container: Container) -> None:
    for call in (
        lambda: create_logged_model(container, 99),
        lambda: logged_model(container, "m-none"),
        lambda: finalize_logged_model(container, "m-none", "READY"),
        lambda: delete_logged_model(container, "m-none"),
        lambda: tag_logged_model(container, "m-none", {"a": "b"}),
        lambda: untag_logged_model(container, "m-none", "a"),
        lambda: log_logged_model_params(container, "m-none", [("a", "b")]),
    ):
        with pytest.raises(NotFound):
            call()
    deleted = tracking.create_experiment(container, "gone").id
    tracking.delete_experiment(container, deleted)
    with pytest.raises(BadRequest, match="active"):
        create_logged_model(container, deleted)
    with pytest.raises(BadRequest):
        create_logged_model(container, 0, tags={"k" * 300: "v"})


def test_search(container: Container) -> None:
    other = tracking.create_experiment(container, "other").id
    run = tracking.create_run(container, 0)
    made = {
        name: create_logged_model(
            container, 0, name=name, params=[("depth", str(number))], tags={"t": name.upper()}
        )
        for number, name in enumerate(["a", "b", "c"])
    }
    create_logged_model(container, other, name="far")
    points = [("a", 0.9, "d"), ("b", 0.5, "d"), ("b", 0.95, "e"), ("c", float("nan"), "d")]
    tracking.log(
        container,
        run.id,
        metrics=[Point("acc", value, 1, 1, made[name].id, dataset, "1") for name, value, dataset in points],
    )

    def names(**asked: object) -> list[str]:
        return [model.name for model in search_logged_models(container, [0], **asked).items]  # type: ignore[arg-type]

    assert names() == ["c", "b", "a"]
    assert names(filter="params.depth = '1'") == ["b"]
    assert names(filter="name IN ('a', 'b') AND tags.t LIKE 'A%'") == ["a"]
    assert names(filter="metrics.acc > 0.8") == ["b", "a"]
    assert names(filter="metrics.acc > 0.8", datasets=[("d", "")]) == ["a"]
    assert names(datasets=[("e", "1")]) == ["b"]
    assert names(datasets=[("e", "2")]) == []
    assert names(order=[Ordering("metrics.acc", descending=True, on=("d", "1"))]) == ["a", "b", "c"]
    assert names(order=[Ordering("metrics.acc", on=("d", ""))]) == ["b", "a", "c"]
    assert names(order=[Ordering("name")]) == ["a", "b", "c"]
    assert len(search_logged_models(container, [0, other]).items) == 4
    first = search_logged_models(container, [0], limit=2)
    second = search_logged_models(container, [0], limit=2, token=first.token)
    assert [model.name for model in [*first.items, *second.items]] == ["c", "b", "a"]
    assert second.token == ""


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": "depth = '1'"},
        {"filter": "metrics.acc = 'high'"},
        {"datasets": [("", "1")]},
        {"order": [Ordering("params.depth")]},
        {"order": [Ordering("depth")]},
        {"token": "none"},
    ],
)
def test_searches_that_cannot_be(container: Container, asked: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        search_logged_models(container, [0], **asked)  # type: ignore[arg-type]
