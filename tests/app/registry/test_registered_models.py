"""Registered models, versions and aliases: what each call changes, refuses and tells the ledger."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeostat.app.container import Container
from homeostat.app.registry import aliases, models, reading, versions
from homeostat.app.registry.aliases import live_at
from homeostat.app.registry.search import search_models, search_versions
from homeostat.app.settings import Settings
from homeostat.app.tracking import create_experiment, create_run
from homeostat.domain.errors import BadRequest, Conflict, HomeostatError, NotFound
from homeostat.domain.events import Event
from homeostat.domain.records import Alias, ModelVersion
from homeostat.domain.tracking import LoggedModel, LoggedModelTag, ModelTag, RegisteredModel

PROMPT = {"mlflow.prompt.is_prompt": "true"}


@pytest.fixture
def container(store_url: str, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


def told(container: Container) -> list[tuple[str, str]]:
    """What the ledger says, and it holds."""
    assert container.ledger.verify().ok
    return [(event.kind, event.subject) for event in container.ledger.read()]


def last(container: Container) -> Event:
    return container.ledger.find(limit=1)[0]


def make(container: Container, name: str = "churn", count: int = 3) -> None:
    models.register(container, name)
    for _ in range(count):
        versions.create(container, name, "s3://bucket/model")


def test_a_model_from_beginning_to_end(container: Container) -> None:
    made = models.register(container, "churn", description="who leaves", tags={"team": "risk", "a": ""})
    assert made == reading.model(container.store, "churn")
    assert list(made.tags.items()) == [("a", ""), ("team", "risk")]
    models.describe(container, "churn", "who stays")
    models.tag(container, "churn", "team", "growth")
    models.tag(container, "churn", "team", "growth")  # as it is already: nothing happens
    models.untag(container, "churn", "a")
    models.untag(container, "churn", "a")
    shown = reading.model(container.store, "churn")
    assert (shown.record.description, shown.tags, shown.latest) == ("who stays", {"team": "growth"}, [])
    assert shown.record.updated_at > made.record.updated_at
    models.delete(container, "churn")
    with pytest.raises(NotFound, match="Registered Model with name=churn not found"):
        reading.model(container.store, "churn")
    assert told(container) == [
        ("model.registered", "model/churn"),
        ("model.described", "model/churn"),
        ("model.tagged", "model/churn"),
        ("model.untagged", "model/churn"),
        ("model.deleted", "model/churn"),
    ]
    assert container.store.count(ModelTag) == 0


@pytest.mark.parametrize("tags", [{}, PROMPT])
def test_a_name_is_taken_once(container: Container, tags: dict[str, str]) -> None:
    models.register(container, "model")
    models.register(container, "prompt", tags=PROMPT)
    before = told(container)
    for name in ("model", "prompt"):
        with pytest.raises(Conflict) as refused:
            models.register(container, name, tags=tags)
        same = (name == "prompt") == bool(tags)
        assert ("already exists" if same else "the name is already taken by a") in refused.value.message
    with pytest.raises(Conflict, match=r"Registered Model \(name=prompt\) already exists|taken by a prompt"):
        models.rename(container, "model", "prompt")
    assert told(container) == before


def test_a_version_from_beginning_to_end(container: Container) -> None:
    models.register(container, "churn")
    made = versions.create(
        container,
        "churn",
        "s3://bucket/model",
        run="elsewhere",
        tags={"b": "2", "a": "1"},
        link="http://other/run",
        description="first",
    )
    assert made == reading.version(container.store, "churn", 1)
    assert made.record.stage == "registered"
    assert (made.record.run, made.record.link, made.record.label) == ("elsewhere", "http://other/run", "None")
    assert list(made.tags) == ["a", "b"]
    versions.describe(container, "churn", 1, "")
    versions.tag(container, "churn", 1, "c", "3")
    versions.untag(container, "churn", 1, "a")
    versions.label(container, "churn", 1, "production")
    aliases.set_alias(container, "churn", "champion", 1)
    shown = reading.resolve(container.store, "churn", "champion")
    assert (
        shown == reading.resolve(container.store, "churn", "1") == reading.resolve(container.store, "churn")
    )
    assert (shown.tags, shown.aliases, shown.record.label) == (
        {"b": "2", "c": "3"},
        ["champion"],
        "Production",
    )
    assert versions.download_uri(container, "churn", 1) == "s3://bucket/model"
    versions.delete(container, "churn", 1)
    for count in (ModelVersion, ModelTag, Alias):
        assert container.store.count(count) == 0
    assert told(container)[1:] == [
        ("model.version-created", "model/churn@1"),
        ("model.described", "model/churn@1"),
        ("model.tagged", "model/churn@1"),
        ("model.untagged", "model/churn@1"),
        ("model.stage-set", "model/churn@1"),
        ("model.alias-moved", "model/churn@champion"),
        ("model.alias-moved", "model/churn@champion"),
        ("model.version-deleted", "model/churn@1"),
    ]


def test_a_number_is_given_once(container: Container) -> None:
    make(container, count=3)
    versions.delete(container, "churn", 3)
    assert reading.model(container.store, "churn").latest[0].record.version == 2
    assert versions.create(container, "churn", "s3://bucket/model").record.version == 4
    with pytest.raises(NotFound, match=r"Model Version \(name=churn, version=3\) not found"):
        versions.delete(container, "churn", 3)
    models.delete(container, "churn")
    make(container, count=1)  # another model
    assert reading.resolve(container.store, "churn").record.version == 1


def test_the_newest_of_each_label(container: Container) -> None:
    make(container, count=6)
    for number, label in ((1, "Archived"), (2, "Production"), (4, "Production"), (5, "Staging")):
        versions.label(container, "churn", number, label)

    def latest() -> dict[str, int]:
        found = reading.latest(container.store, "churn")
        return {shown.record.label: shown.record.version for shown in found}

    assert latest() == {"Archived": 1, "Production": 4, "Staging": 5, "None": 6}
    versions.delete(container, "churn", 6)
    assert latest()["None"] == 3
    moved = versions.label(container, "churn", 5, "Production", archive=True)
    assert moved.record.label == "Production"
    assert reading.version(container.store, "churn", 4).record.updated_at == moved.record.updated_at
    assert latest() == {"Production": 5, "Archived": 4, "None": 3}
    assert [v.record.version for v in reading.latest(container.store, "churn", ["none", "staging"])] == [3]
    archived = container.ledger.find(kinds=["model.stage-set"], limit=3)
    assert [(e.subject, e.body["to"]) for e in reversed(archived)] == [
        ("model/churn@2", "Archived"),
        ("model/churn@4", "Archived"),
        ("model/churn@5", "Production"),
    ]
    versions.delete(container, "churn", 5)
    assert latest() == {"Archived": 4, "None": 3}


def test_aliases_move_and_remember(container: Container) -> None:
    make(container, count=2)
    for number in (1, 2, 2):
        aliases.set_alias(container, "churn", "live", number, actor="ada")
    moves = container.ledger.find(subject="model/churn@live", newest=False)
    assert [(e.actor, e.body["from"], e.body["to"]) for e in moves] == [("ada", None, 1), ("ada", 1, 2)]
    shown = reading.by_alias(container.store, "churn", "live")
    assert shown is not None
    assert shown.record.version == 2
    assert reading.by_alias(container.store, "churn", "other") is None
    newest = reading.by_alias(container.store, "churn", "LATEST")
    assert newest == shown
    with pytest.raises(NotFound):
        aliases.set_alias(container, "churn", "live", 9)
    versions.delete(container, "churn", 2)
    assert reading.model(container.store, "churn").aliases == {}
    assert last(container).kind == "model.version-deleted"
    aliases.drop_alias(container, "churn", "live")  # there is none: no error, no event
    assert last(container).kind == "model.version-deleted"


def test_a_model_under_another_name(container: Container) -> None:
    make(container, "old", count=2)
    models.tag(container, "old", "a", "1")
    versions.tag(container, "old", 2, "b", "2")
    aliases.set_alias(container, "old", "live", 2)
    shown = models.rename(container, "old", "new name")
    assert (shown.record.name, shown.tags, shown.aliases) == ("new name", {"a": "1"}, {"live": 2})
    assert shown.latest[0].tags == {"b": "2"}
    assert versions.create(container, "new name", "s3://b/m").record.version == 3
    for gone in (
        lambda: reading.model(container.store, "old"),
        lambda: reading.resolve(container.store, "old", "1"),
    ):
        with pytest.raises(NotFound):
            gone()
    edges = container.ledger.edges("model/new name@1", "up")
    assert [(edge.source, edge.role) for edge in edges] == [("model/old@1", "renamed")]
    again = models.rename(container, "new name", "new name")
    assert again.record.versions == 3


def test_a_version_belongs_to_the_run_and_the_files_that_it_names(container: Container) -> None:
    models.register(container, "churn")
    experiment = create_experiment(container, "exp")
    run = create_run(container, experiment.id).id
    own = f"{experiment.artifacts}/{run}/artifacts/model"
    made = versions.create(container, "churn", own, run=run)
    assert [edge.source for edge in container.ledger.edges("model/churn@1", "up")] == [f"run/{run}"]
    copied = versions.create(container, "churn", "models:/churn/1").record
    assert (copied.source, copied.location, copied.run) == ("models:/churn/1", own, run)
    versions.delete(container, "churn", 1)
    assert versions.download_uri(container, "churn", 2) == own
    again = versions.create(container, "churn", "models:/churn/latest", run=run).record
    assert (again.source, again.location) == ("models:/churn/2", own)
    assert made.record.location == ""
    for source, of, logged in (
        (own, None, None),
        (own, "another", None),
        (f"{experiment.artifacts}/other/artifacts", run, None),
        (f"{own}/../../..", run, None),
        ("/etc", run, None),
        ("runs:/other/model", run, None),
        ("models:/churn/2", "another", None),
        ("models:/churn/2", None, "m-1"),
        ("models:/m-1", None, None),
        ("https://elsewhere/model", None, None),
    ):
        with pytest.raises(BadRequest) as refused:
            versions.create(container, "churn", source, run=of, logged_model=logged)
        assert refused.value.field == "source"
    for source in ("models:/none/1", "models:/churn/9", "models:/churn/Staging"):
        with pytest.raises(NotFound):
            versions.create(container, "churn", source)
    assert reading.resolve(container.store, "churn").record.version == 3


def test_a_version_that_is_a_logged_model_is_told_to_it(container: Container) -> None:
    models.register(container, "churn")
    experiment = create_experiment(container, "exp")
    root = f"{experiment.artifacts}/models/m-1/artifacts"
    now = container.clock.now()
    with container.store.begin() as tx:
        tx.insert(
            LoggedModel(
                id="m-1",
                experiment=experiment.id,
                name="clf",
                run="r1",
                status="READY",
                artifacts=root,
                created_at=now,
                updated_at=now,
            )
        )
    by_uri = versions.create(container, "churn", "models:/m-1", logged_model="m-1").record
    assert (by_uri.run, by_uri.location, by_uri.logged_model) == ("r1", root, "m-1")
    by_place = versions.create(container, "churn", f"{root}/", run="r2", logged_model="m-1").record
    assert (by_place.run, by_place.location) == ("r2", "")
    tag = container.store.get(LoggedModelTag, "m-1", "mlflow.modelVersions")
    assert tag is not None
    assert tag.value == '[{"name": "churn", "version": 1}, {"name": "churn", "version": 2}]'
    for source, logged in ((f"{experiment.artifacts}/models/m-2/artifacts", "m-1"), ("models:/m-2", "m-1")):
        with pytest.raises(BadRequest, match="model_id request parameter"):
            versions.create(container, "churn", source, logged_model=logged)
    with pytest.raises(NotFound, match="m-9"):
        versions.create(container, "churn", "models:/m-9", logged_model="m-9")


def test_prompts_are_kept_apart(container: Container) -> None:
    models.register(container, "greeting", tags=PROMPT)
    versions.create(
        container, "greeting", "prompt-template", tags=PROMPT | {"mlflow.prompt.text": "Hi {{x}}"}
    )
    make(container, count=1)
    assert [shown.record.name for shown in search_models(container).items] == ["churn"]
    assert [shown.record.model for shown in search_versions(container).items] == ["churn"]
    asked = "tags.`mlflow.prompt.is_prompt` = 'true'"
    assert [shown.record.name for shown in search_models(container, asked).items] == ["greeting"]
    assert [shown.record.model for shown in search_versions(container, asked).items] == ["greeting"]
    with pytest.raises(BadRequest, match="Invalid prompt source"):
        versions.create(container, "greeting", "s3://bucket/x", tags=PROMPT)
    with pytest.raises(BadRequest, match="Prompt versions cannot be used"):
        versions.create(container, "churn", "models:/greeting/1")


def test_pages_of_a_search(container: Container) -> None:
    for name in ("a", "b", "c", "d", "e"):
        make(container, name, count=2)
        models.tag(container, name, "place", name)
    seen, token = [], ""
    while True:
        page = search_models(container, "name != 'c'", order_by=["name DESC"], limit=2, token=token)
        seen += [
            (shown.record.name, shown.tags["place"], shown.latest[0].record.version) for shown in page.items
        ]
        token = page.token
        if not token:
            break
    assert seen == [(name, name, 2) for name in "edba"]
    found = search_versions(container, "name IN ('a', 'b') AND version_number > 1")
    assert [(shown.record.model, shown.record.version) for shown in found.items] == [("b", 2), ("a", 2)]


def test_many_models_are_shown_in_few_statements(container: Container) -> None:
    """More than a statement compares with at once."""
    now = container.clock.now()
    with container.store.begin() as tx:
        tx.insert(
            *(
                RegisteredModel(
                    name=f"m{n:04}", versions=1, latest={"None": 1}, created_at=now, updated_at=now
                )
                for n in range(1200)
            )
        )
        tx.insert(
            *(
                ModelVersion(
                    model=f"m{n:04}", version=1, run="", stage="registered", created_at=now, updated_at=now
                )
                for n in range(1200)
            )
        )
        tx.insert(
            *(
                ModelTag(model=f"m{n:04}", version=v, key="k", value=f"{n}")
                for n in range(1200)
                for v in (0, 1)
            )
        )
    shown = reading.show_models(container.store, container.store.find(RegisteredModel))
    assert (
        [one.tags["k"] for one in shown]
        == [one.latest[0].tags["k"] for one in shown]
        == list(map(str, range(1200)))
    )


def test_the_longest_names(container: Container) -> None:
    """Incompressible and of four bytes a character: an index entry of PostgreSQL holds 2,700."""
    rng = random.Random(0)

    def name(length: int) -> str:
        return "".join(chr(rng.randrange(0x20000, 0x2A6DF)) for _ in range(length))

    old, new, alias, key = name(256), name(256), name(255), name(250)
    models.register(container, old, tags={key: "1"})
    versions.create(container, old, "s3://bucket/model", run=name(256), tags={key: "2"})
    aliases.set_alias(container, old, alias, 1)
    models.rename(container, old, new)
    shown = reading.resolve(container.store, new, alias)
    assert (shown.tags, shown.aliases) == ({key: "2"}, [alias])
    assert live_at(container, new, container.clock.now(), alias).version == 1
    assert container.ledger.verify().ok


@pytest.mark.parametrize(
    "call",
    [
        lambda c: models.describe(c, "none", "x"),
        lambda c: models.tag(c, "none", "k", "v"),
        lambda c: models.untag(c, "none", "k"),
        lambda c: models.rename(c, "none", "other"),
        lambda c: models.delete(c, "none"),
        lambda c: versions.create(c, "none", "s3://b/m"),
        lambda c: versions.describe(c, "churn", 9, "x"),
        lambda c: versions.label(c, "churn", 9, "None"),
        lambda c: versions.label(c, "none", 1, "None"),
        lambda c: versions.tag(c, "churn", 9, "k", "v"),
        lambda c: versions.untag(c, "churn", 9, "k"),
        lambda c: versions.delete(c, "none", 1),
        lambda c: aliases.set_alias(c, "none", "a", 1),
        lambda c: aliases.drop_alias(c, "none", "a"),
        lambda c: reading.latest(c.store, "none"),
        lambda c: reading.by_alias(c.store, "none", "a"),
        lambda c: reading.resolve(c.store, "churn", "nobody"),
    ],
)
def test_what_is_not_there(container: Container, call: Any) -> None:
    make(container, count=1)
    before = told(container)
    with pytest.raises(NotFound):
        call(container)
    assert told(container) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda c: models.register(c, "a/b"),
        lambda c: models.register(c, "a\0b"),
        lambda c: models.register(c, "new", tags={"k$": "v"}),
        lambda c: models.register(c, "new", tags={"k": "v" * 100_001}),
        lambda c: models.register(c, "new", description="x" * 100_001),
        lambda c: models.rename(c, "churn", " "),
        lambda c: models.tag(c, "churn", "k" * 251, "v"),
        lambda c: versions.create(c, "churn", "s3://b/m", tags={"": "v"}),
        lambda c: versions.create(c, "churn", "s3://b/m", run="r" * 257),
        lambda c: versions.create(c, "churn", "s3://b/" + "m" * 10_000),
        lambda c: versions.label(c, "churn", 1, "live"),
        lambda c: versions.label(c, "churn", 1, "None", archive=True),
        lambda c: versions.describe(c, "churn", 2**70, "x"),
        lambda c: aliases.set_alias(c, "churn", "latest", 1),
        lambda c: aliases.set_alias(c, "churn", "v1", 1),
        lambda c: aliases.drop_alias(c, "churn", "a b"),
        lambda c: search_models(c, "colour = 'red'"),
        lambda c: search_versions(c, order_by=["stage"]),
        lambda c: search_models(c, token="junk"),
    ],
)
def test_what_cannot_be(container: Container, call: Any) -> None:
    make(container, count=1)
    before = told(container)
    with pytest.raises(HomeostatError) as refused:
        call(container)
    assert isinstance(refused.value, BadRequest)
    assert refused.value.field
    assert told(container) == before
