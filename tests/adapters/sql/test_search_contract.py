"""The search finds what a plain reading of the filter finds, in its order, and each thing on exactly one page."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.adapters.sql import SqlMetaStore, SqlSearch
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import ModelVersion, Run
from homeostat.domain.tracking import (
    STATUSES,
    Experiment,
    ExperimentTag,
    LoggedModel,
    LoggedModelMetric,
    LoggedModelParam,
    LoggedModelTag,
    Metric,
    ModelTag,
    Param,
    RegisteredModel,
    RunInput,
    RunTag,
)
from homeostat.ports.search import Comparison, Order, Page, Query

pytestmark = pytest.mark.slow

T0 = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = [-math.inf, -1.0, 0.0, 0.5, 0.5000000000000001, 1e308, math.inf, math.nan]
TEXTS = ["", "a", "A", "ab", "a%", "a_b", "b*", "[a]", "ä", "Ä", "a\\b", "z?"]
KEYS = ["k", "K", "other"]


class Thing(msgspec.Struct, frozen=True):
    """A run with what belongs to it."""

    run: Run
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[str]


@st.composite
def things(draw: st.DrawFn) -> list[Thing]:
    def some(values: list[Any]) -> Any:
        return draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(values), max_size=3))

    made = []
    for number in range(draw(st.integers(0, 12))):
        started = draw(st.none() | st.integers(0, 3))
        run = Run(
            id=f"r{number:02}",
            kind="run",
            experiment=draw(st.sampled_from([1, 2])),
            name=draw(st.sampled_from(TEXTS)),
            state=draw(st.sampled_from(["running", "failed"])),
            created_at=T0,
            started_at=None if started is None else T0 + timedelta(microseconds=700 * started),
        )
        datasets = draw(st.lists(st.sampled_from(TEXTS[1:4]), max_size=2, unique=True))
        made.append(Thing(run, some(NUMBERS), some(TEXTS), some(TEXTS), datasets))
    return made


MILLISECONDS = int(T0.timestamp() * 1000)
COMPARISON = st.one_of(
    st.builds(
        Comparison,
        st.just("metric"),
        st.sampled_from(KEYS),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from([n for n in NUMBERS if n == n]),
    ),
    st.builds(
        Comparison,
        st.sampled_from(["tag", "param"]),
        st.sampled_from(KEYS),
        st.sampled_from(["=", "!=", "LIKE", "ILIKE", "LACKS"]),
        st.sampled_from([*TEXTS, "a%", "%b", "_", "%", "A%", "%*", "\\%", "[a%"]),
    ),
    st.builds(
        Comparison,
        st.sampled_from(["tag", "param"]),
        st.sampled_from(KEYS),
        st.sampled_from(["IN", "NOT IN"]),
        st.lists(st.sampled_from(TEXTS), max_size=3).map(tuple),
    ),
    st.builds(
        Comparison,
        st.sampled_from(["tag", "param"]),
        st.sampled_from(KEYS),
        st.sampled_from(["IS NULL", "IS NOT NULL"]),
    ),
    st.builds(
        Comparison,
        st.just("attribute"),
        st.just("name"),
        st.sampled_from(["=", "!=", "LIKE", "ILIKE"]),
        st.sampled_from(TEXTS),
    ),
    st.builds(
        Comparison,
        st.just("attribute"),
        st.just("started_at"),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from([MILLISECONDS, MILLISECONDS + 1, MILLISECONDS + 0.5, MILLISECONDS + 2, 1e300]),
    ),
    st.builds(Comparison, st.just("dataset"), st.just("name"), st.just("="), st.sampled_from(TEXTS[1:4])),
)
ORDER = st.builds(
    Order, st.sampled_from(["metric", "tag", "param"]), st.sampled_from(KEYS), st.booleans()
) | st.builds(
    Order, st.just("attribute"), st.sampled_from(["name", "started_at", "state", "experiment"]), st.booleans()
)
TIES = (Order("attribute", "started_at", True), Order("attribute", "id"))


def like(text: str, pattern: str, flags: int = 0) -> bool:
    escaped = re.escape(pattern).replace("%", ".*").replace("_", ".")
    return re.fullmatch(escaped, text, flags | re.DOTALL) is not None


OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "LIKE": like,
    "ILIKE": lambda a, b: like(a, b, re.IGNORECASE | re.ASCII),
    "IN": lambda a, b: a in b,
    "NOT IN": lambda a, b: a not in b,
}


def holds(thing: Thing, one: Comparison) -> bool:
    if one.entity == "dataset":
        return one.value in thing.datasets
    if one.entity == "attribute":
        value = getattr(thing.run, one.key)
        if isinstance(value, datetime):
            value = (value - T0) // timedelta(milliseconds=1) + MILLISECONDS
    else:
        value = {"metric": thing.metrics, "param": thing.params, "tag": thing.tags}[one.entity].get(one.key)
    if one.op in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (one.op == "IS NULL")
    if one.op == "LACKS":
        return bool(value != one.value)
    return value is not None and OPERATIONS[one.op](value, one.value)


def place(thing: Thing, term: Order) -> tuple[int, Any]:
    if term.entity == "attribute":
        value = getattr(thing.run, term.key)
    else:
        value = {"metric": thing.metrics, "param": thing.params, "tag": thing.tags}[term.entity].get(term.key)
    if value is None:
        return 2, 0
    return (1, 0) if value != value else (0, value)


def sort(found: list[Thing], order: tuple[Order, ...]) -> list[str]:
    def compare(one: Thing, two: Thing) -> int:
        for term in order:
            (rank, value), (other_rank, other) = place(one, term), place(two, term)
            if rank != other_rank:
                return rank - other_rank
            if value != other:
                return -1 if (value < other) != term.descending else 1
        return 0

    return [thing.run.id for thing in sorted(found, key=cmp_to_key(compare))]


def fill(store: SqlMetaStore, made: list[Thing]) -> None:
    with store.begin() as tx:
        for kind in (Run, Metric, Param, RunTag, RunInput, Experiment):
            tx.delete(kind)
        for thing in made:
            run, id = thing.run, thing.run.id
            tx.insert(run)
            for key, number in thing.metrics.items():
                value = None if number != number else number
                tx.insert(
                    Metric(run=id, key=key, experiment=run.experiment, value=value, step=0, timestamp=0)
                )
            tx.put(*(Param(run=id, key=key, value=value) for key, value in thing.params.items()))
            tx.put(*(RunTag(run=id, key=key, value=value) for key, value in thing.tags.items()))
            for name in thing.datasets:
                tx.insert(RunInput(run=id, name=name, digest="d", source_type="", source=""))


def pages(search: SqlSearch, query: Query[Any]) -> list[list[Any]]:
    """Every page."""
    out: list[list[Any]] = []
    token = ""
    while not out or token:
        page: Page[Any] = search.page(msgspec.structs.replace(query, token=token))
        assert len(page.items) <= query.limit
        assert page.items or not token
        out.append(page.items)
        token = page.token
    return out


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlMetaStore]:
    """One store for every example."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/store.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("databases").shared
    store = SqlMetaStore(url)
    yield store
    store.close()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    made=things(),
    filter=st.lists(COMPARISON, max_size=2),
    order=st.lists(ORDER, max_size=3, unique_by=lambda term: (term.entity, term.key)),
    experiments=st.sampled_from([[1], [2], [1, 2]]),
    limit=st.integers(1, 5),
)
def test_pages_are_what_a_plain_reading_gives(
    lasting: SqlMetaStore,
    made: list[Thing],
    filter: list[Comparison],
    order: list[Order],
    experiments: list[int],
    limit: int,
) -> None:
    fill(lasting, made)
    taken = {(term.entity, term.key) for term in order}
    complete = (*order, *(tie for tie in TIES if (tie.entity, tie.key) not in taken))
    scope: Any = (
        ("experiment", "=", experiments[0]) if len(experiments) == 1 else ("experiment", "in", experiments)
    )
    query = Query(kind=Run, scope=(scope,), filter=tuple(filter), order=complete, limit=limit)
    found = [
        thing
        for thing in made
        if thing.run.experiment in experiments and all(holds(thing, one) for one in filter)
    ]
    got = pages(SqlSearch(lasting), query)
    assert [run.id for page in got for run in page] == sort(found, complete)
    assert {run for page in got for run in map(repr, page)} == {repr(thing.run) for thing in found}


def test_a_token_is_of_one_search(store: SqlMetaStore) -> None:
    fill(store, [Thing(run(number), {"k": float(number)}, {}, {}, []) for number in range(5)])
    search = SqlSearch(store)
    query = Query(kind=Run, scope=(("experiment", "=", 1),), order=TIES, limit=2)
    token = search.page(query).token
    assert [one.id for one in search.page(msgspec.structs.replace(query, token=token)).items] == ["r2", "r3"]
    others: dict[str, dict[str, Any]] = {
        "Order by": {"order": TIES[1:]},
        "Experiment IDs": {"scope": (("experiment", "=", 2),)},
        "Filter string": {"filter": (Comparison("metric", "k", ">", 1),)},
    }
    for name, other in others.items():
        with pytest.raises(BadRequest, match=f"{name} in the page token do(es)? not match the search"):
            search.page(msgspec.structs.replace(query, token=token, **other))
    for bad in ("x", "eyJvZmZzZXQiOiAyfQ==", token[:-4], "é", token + "\0", "A" * 5000):
        with pytest.raises(BadRequest, match="Invalid page token"):
            search.page(msgspec.structs.replace(query, token=bad))
    mark, values = msgspec.msgpack.decode(base64.urlsafe_b64decode(token))
    for changed in ([0, None], [0, {}], [0, "x"], [7, 0], [True, 0], [2, 1.0], ["0", 0]):
        made = base64.urlsafe_b64encode(msgspec.msgpack.encode([mark, [changed, *values[1:]]])).decode()
        with pytest.raises(BadRequest, match="Invalid page token"):
            search.page(msgspec.structs.replace(query, token=made))
    with pytest.raises(BadRequest, match="a page of 0 records"):
        search.page(msgspec.structs.replace(query, limit=0))


def run(number: int) -> Run:
    return Run(id=f"r{number}", kind="run", experiment=1, state="running", created_at=T0, started_at=T0)


def test_pages_go_on_where_the_last_ended_though_things_come_and_go(store: SqlMetaStore) -> None:
    fill(store, [Thing(run(number), {"k": float(number)}, {}, {}, []) for number in range(8)])
    search = SqlSearch(store)
    order = (Order("metric", "k"), *TIES)
    query = Query(kind=Run, scope=(("experiment", "=", 1),), order=order, limit=3)
    first = search.page(query)
    with store.begin() as tx:
        for gone in ("r0", "r2", "r4"):
            tx.delete(Run, ("id", "=", gone))
        tx.insert(run(9), Metric(run="r9", key="k", experiment=1, value=-1.0, step=0, timestamp=0))
    second = search.page(msgspec.structs.replace(query, token=first.token))
    assert [one.id for one in first.items] == ["r0", "r1", "r2"]
    assert [one.id for one in second.items] == ["r3", "r5", "r6"]


def test_where_files_of_a_run_are_is_searched(store: SqlMetaStore) -> None:
    fill(store, [Thing(run(number), {}, {}, {}, []) for number in range(2)])
    with store.begin() as tx:
        tx.insert(Experiment(id=1, name="e", artifacts="s3://b/1", created_at=T0, updated_at=T0))
    search = SqlSearch(store)
    where = Comparison("attribute", "artifacts", "LIKE", "s3://b/1/r1/%")
    order = (Order("attribute", "artifacts", True), Order("attribute", "id"))
    assert [one.id for one in search.page(Query(kind=Run, filter=(where,), order=order, limit=9)).items] == [
        "r1"
    ]
    assert [[one.id for one in page] for page in pages(search, Query(kind=Run, order=order, limit=1))] == [
        ["r1"],
        ["r0"],
    ]


def test_runs_by_status_stand_as_their_names_do(store: SqlMetaStore) -> None:
    """Not as the states that are kept: FINISHED comes before RUNNING, "succeeded" after "running"."""
    states = ("running", "cancelled", "succeeded", "queued", "failed")
    with store.begin() as tx:
        for number, state in enumerate(states):
            tx.insert(msgspec.structs.replace(run(number), state=state))
    search = SqlSearch(store)
    for descending in (False, True):
        order = (Order("attribute", "status", descending), Order("attribute", "id"))
        found = [one.state for page in pages(search, Query(kind=Run, order=order, limit=2)) for one in page]
        assert found == sorted(states, key=STATUSES.__getitem__, reverse=descending)


def test_models_and_their_versions(store: SqlMetaStore) -> None:
    def version(model: str, number: int, updated: int) -> ModelVersion:
        return ModelVersion(
            model=model,
            version=number,
            run=f"run-{number}",
            stage="registered",
            source=f"s3://{model}/{number}",
            created_at=T0 + timedelta(seconds=number),
            updated_at=T0 + timedelta(seconds=updated),
        )

    with store.begin() as tx:
        for name in ("a", "b", "prompt"):
            tx.insert(RegisteredModel(name=name, created_at=T0, updated_at=T0))
        tx.insert(version("a", 1, 50), version("a", 2, 2), version("b", 1, 1), version("b", 3, 7))
        tx.insert(
            ModelTag(model="a", version=0, key="team", value="x"),
            ModelTag(model="b", version=3, key="team", value="x"),
            ModelTag(model="prompt", version=0, key="p", value="true"),
        )
    search = SqlSearch(store)
    by_name = (Order("attribute", "name"),)

    def models(*filter: Comparison) -> list[str]:
        query = Query(kind=RegisteredModel, filter=filter, order=by_name, limit=9)
        return [model.name for model in search.page(query).items]

    def versions(*filter: Comparison, order: tuple[Order, ...]) -> list[tuple[str, int]]:
        query = Query(kind=ModelVersion, filter=filter, order=order, limit=1)
        return [(one.model, one.version) for page in pages(search, query) for one in page]

    assert models(Comparison("tag", "team", "=", "x")) == ["a"]
    assert models(Comparison("tag", "p", "LACKS", "true")) == ["a", "b"]
    newest = (
        Order("attribute", "updated_at", True),
        Order("attribute", "model"),
        Order("attribute", "version", True),
    )
    assert versions(order=newest) == [("a", 1), ("b", 3), ("a", 2), ("b", 1)]
    assert versions(Comparison("tag", "team", "=", "x"), order=newest) == [("b", 3)]
    assert versions(Comparison("attribute", "version", ">", 1), order=newest[1:]) == [("a", 2), ("b", 3)]
    with pytest.raises(BadRequest, match="is an integer"):
        versions(Comparison("attribute", "version", ">", 1.5), order=newest)
    with pytest.raises(BadRequest, match="RegisteredModel has no metrics"):
        models(Comparison("metric", "k", ">", 1))


def test_logged_models_by_their_metrics_on_datasets(store: SqlMetaStore) -> None:
    def metric(model: str, run: str, dataset: str, value: float | None, at: int) -> LoggedModelMetric:
        return LoggedModelMetric(
            model=model, key="k", run=run, dataset=dataset, digest="1", value=value, step=0, timestamp=at
        )

    with store.begin() as tx:
        for name in ("a", "b", "c"):
            made = T0 + timedelta(seconds=ord(name))
            tx.insert(
                LoggedModel(
                    id=name,
                    experiment=1,
                    name=name,
                    status="READY",
                    artifacts="",
                    created_at=made,
                    updated_at=made,
                )
            )
        tx.insert(
            metric("a", "r", "d", 1.0, 1),
            metric("a", "s", "d", 5.0, 2),
            metric("a", "r", "e", 9.0, 3),
            metric("b", "r", "d", 3.0, 1),
            metric("b", "r", "e", None, 9),
            LoggedModelParam(model="b", key="p", value="1"),
            LoggedModelTag(model="c", key="t", value="1"),
        )
    search = SqlSearch(store)
    ties = (Order("attribute", "created_at", True), Order("attribute", "id"))

    def found(*filter: Comparison, order: tuple[Order, ...] = ()) -> list[str]:
        query = Query(kind=LoggedModel, filter=filter, order=(*order, *ties), limit=1)
        return [one.id for page in pages(search, query) for one in page]

    assert found() == ["c", "b", "a"]
    assert found(order=(Order("metric", "k", False, ("d", "")),)) == ["b", "a", "c"]
    assert found(order=(Order("metric", "k", True, ("d", "1")),)) == ["a", "b", "c"]
    assert found(order=(Order("metric", "k", True, ("d", "2")),)) == ["c", "b", "a"]
    assert found(order=(Order("metric", "k"),)) == ["a", "c", "b"]
    assert found(Comparison("metric", "k", ">", 4.0, (("d", ""),))) == ["a"]
    assert found(Comparison("metric", "", "IS NOT NULL", None, (("e", ""), ("x", "")))) == ["b", "a"]
    assert found(Comparison("param", "p", "=", "1")) == ["b"]
    assert found(Comparison("tag", "t", "=", "1")) == ["c"]


def test_experiments_by_tags(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        for number in range(3):
            tx.insert(Experiment(id=number, name=f"e{number}", artifacts="", created_at=T0, updated_at=T0))
        tx.insert(ExperimentTag(experiment=1, key="t", value="x"))
    query = Query(
        kind=Experiment,
        filter=(Comparison("tag", "t", "IS NULL"),),
        order=(Order("attribute", "id", True),),
        limit=9,
    )
    assert [one.id for one in SqlSearch(store).page(query).items] == [2, 0]
