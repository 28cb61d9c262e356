"""The contract of MetaStore and Transaction, on SQLite and on PostgreSQL."""

from __future__ import annotations

import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from homeostat.adapters.sql import SqlMetaStore, prepared, statements
from homeostat.domain.errors import BadRequest, Conflict, HomeostatError
from homeostat.domain.events import Event
from homeostat.domain.records import Alert, Alias, Batch, Cursor, Project, Record, Run, Window
from homeostat.domain.tracking import Param

AT = datetime(2013, 5, 1, 12, tzinfo=UTC)


def run(name: str, **changes: Any) -> Run:
    return replace(
        Run(id=name, kind="train", model="delay", state="queued", reason="asked", created_at=AT), **changes
    )


def names(runs: list[Run]) -> list[str]:
    return [found.id for found in runs]


def test_what_is_not_there_is_none(store: SqlMetaStore) -> None:
    assert store.get(Run, "nobody") is None
    assert store.find(Run) == []
    assert store.count(Run) == 0


def test_a_composite_key_is_given_in_order(store: SqlMetaStore) -> None:
    alias = Alias(model="delay", alias="champion", version=3, at=AT)
    with store.begin() as tx:
        tx.insert(alias)
    assert store.get(Alias, "delay", "champion") == alias
    assert store.get(Alias, "champion", "delay") is None
    with pytest.raises(BadRequest, match=r"key of Alias is \(model, alias\)"):
        store.get(Alias, "delay")


def test_a_transaction_sees_its_own_writes_and_others_do_not(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(run("a"))
        assert tx.get(Run, "a") == run("a")
        assert names(tx.find(Run)) == ["a"]
        assert tx.count(Run) == 1
        assert store.get(Run, "a") is None
    assert store.get(Run, "a") == run("a")


def test_a_block_that_raises_leaves_nothing(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(run("kept"))
    with pytest.raises(ZeroDivisionError), store.begin() as tx:  # noqa: PT012
        tx.insert(run("a"), run("b"))
        tx.put(run("kept", state="failed"))
        tx.delete(Run, ("id", "=", "kept"))
        raise ZeroDivisionError
    assert store.find(Run) == [run("kept")]


def test_inserting_a_taken_key_is_a_conflict_that_names_it(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(run("a"))
    with pytest.raises(Conflict, match=r"Run with id='a'"), store.begin() as tx:
        tx.insert(run("a", state="running"))
    assert store.get(Run, "a") == run("a")


def test_after_a_conflict_the_transaction_goes_on(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(run("a"))
        with pytest.raises(Conflict, match=r"Run with id='a'"):
            tx.insert(run("b"), Cursor(name="c", seq=1), run("a"))
        with pytest.raises(Conflict, match=r"Run with id='twice'"):
            tx.insert(run("twice"), run("twice"))
        tx.insert(run("z"))
    assert names(store.find(Run)) == ["a", "z"]
    assert store.count(Cursor) == 0


def test_records_of_many_classes_go_in_one_call(store: SqlMetaStore) -> None:
    several: list[Record] = [run("a"), run("b"), Cursor(name="c", seq=1), run("d")]
    with store.begin() as tx:
        tx.insert(*several)
        tx.insert()
        tx.put()
    assert names(store.find(Run)) == ["a", "b", "d"]
    assert store.get(Cursor, "c") == Cursor(name="c", seq=1)


def test_put_adds_and_replaces_every_field(store: SqlMetaStore) -> None:
    full = run("a", started_at=AT, seconds=1.5, metrics={"auc": 0.7}, error="x", tags={"k": "v"})
    with store.begin() as tx:
        tx.put(full, run("b"))
    with store.begin() as tx:
        tx.put(run("a"), run("b", rows=7), run("c"))
    assert store.find(Run) == [run("a"), run("b", rows=7), run("c")]


def test_delete_tells_how_many(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(*(run(name, rows=number) for number, name in enumerate("abcd")))
        assert tx.delete(Run, ("rows", ">=", 2)) == 2
        assert tx.delete(Run, ("rows", ">=", 2)) == 0
    assert names(store.find(Run)) == ["a", "b"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ((("id", "=", "b"),), "b"),
        ((("id", "!=", "b"),), "acd"),
        ((("rows", "<", 2),), "ab"),
        ((("rows", "<=", 2),), "abc"),
        ((("rows", ">", 2),), "d"),
        ((("rows", ">=", 2),), "cd"),
        ((("id", "in", ["d", "a", "zz"]),), "ad"),
        ((("id", "in", ("d",)),), "d"),
        ((("id", "in", []),), ""),
        ((("seconds", "=", None),), "a"),
        ((("seconds", "!=", None),), "bcd"),
        ((("seconds", "!=", 1.0),), "acd"),
        ((("seconds", ">", 1),), "cd"),
        ((("created_at", ">", AT + timedelta(hours=1)),), "cd"),
        ((("created_at", "=", (AT + timedelta(hours=1)).astimezone(timezone(timedelta(hours=2)))),), "b"),
        ((("rows", ">", 0), ("rows", "<", 3)), "bc"),
        ((("state", "=", "queued"), ("id", "in", {"a", "b"}), ("rows", "!=", 0)), "b"),
        ((), "abcd"),
    ],
)
def test_conditions(store: SqlMetaStore, where: tuple[Any, ...], expected: str) -> None:
    with store.begin() as tx:
        for number, name in enumerate("abcd"):
            at = AT + timedelta(hours=number)
            tx.insert(run(name, rows=number, created_at=at, seconds=float(number) or None))
    assert names(store.find(Run, *where)) == list(expected)
    assert store.count(Run, *where) == len(expected)
    with store.begin() as tx:
        assert tx.delete(Run, *where) == len(expected)


def test_conditions_on_a_bool(store: SqlMetaStore) -> None:
    window = Window(
        deployment="d", monitor="m", start=AT, end=AT, rows=1, value=0.5, threshold=None, breached=False
    )
    with store.begin() as tx:
        tx.insert(window, replace(window, monitor="n", breached=True))
    assert [found.monitor for found in store.find(Window, ("breached", "=", True))] == ["n"]
    assert store.find(Window)[0].breached is False


def test_order_is_by_fields_then_key(store: SqlMetaStore) -> None:
    rows = {"b": 1, "c": 0, "a": 1, "Z": 1, "é": 2, "_": None, "0": 0}
    with store.begin() as tx:
        tx.insert(*(run(name, seconds=None if n is None else float(n)) for name, n in rows.items()))
    assert names(store.find(Run)) == ["0", "Z", "_", "a", "b", "c", "é"]
    assert names(store.find(Run, order=["seconds"])) == ["_", "0", "c", "Z", "a", "b", "é"]
    assert names(store.find(Run, order=["-seconds"])) == ["é", "Z", "a", "b", "0", "c", "_"]
    assert names(store.find(Run, order=["-seconds", "-id"])) == ["é", "b", "a", "Z", "c", "0", "_"]
    assert names(store.find(Run, order=["-id"], limit=2)) == ["é", "c"]
    assert store.find(Run, limit=0) == []
    assert len(store.find(Run, limit=100)) == 7


def test_order_agrees_with_python_on_any_text(store: SqlMetaStore) -> None:
    chance = random.Random(7)
    texts = {"".join(chance.choices("aAbBzZ09-_./@ éßЖ中😀￿", k=chance.randint(1, 4))) for _ in range(300)}
    with store.begin() as tx:
        tx.insert(*(Cursor(name=text, seq=1) for text in texts))
    assert [cursor.name for cursor in store.find(Cursor)] == sorted(texts)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: s.find(Run, ("colour", "=", 1)), "Run has no field 'colour'.*Use one of id, kind"),
        (lambda s: s.count(Run, ("colour", "=", 1)), "Run has no field 'colour'"),
        (lambda s: s.find(Run, order=["-colour"]), "Run has no field 'colour'"),
        (lambda s: s.find(Run, ("id", "like", "a%")), "'like' is no comparison"),
        (lambda s: s.find(Run, ("tags", "=", {})), "Run.tags cannot be compared"),
        (lambda s: s.find(Batch, order=["payload"]), "Batch.payload cannot be compared"),
        (lambda s: s.find(Run, ("rows", "=", "three")), "Run.rows is an integer.*not 'three'"),
        (lambda s: s.find(Run, ("rows", "in", [1, "three"])), "Run.rows is an integer.*not 'three'"),
        (lambda s: s.find(Run, ("created_at", "<", datetime(2013, 1, 1))), "time zone"),  # noqa: DTZ001
        (lambda s: s.find(Run, ("seconds", "<", None)), "Run.seconds cannot be < None"),
        (lambda s: s.find(Run, ("seconds", "in", [None])), "holds None"),
        (lambda s: s.find(Run, limit=-1), "limit is -1"),
        (lambda s: s.find(Record), "Record is not kept"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(store: SqlMetaStore, call: Any, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        call(store)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (Cursor(name="a\0b", seq=1), "Cursor.name is a text without NUL"),
        (Cursor(name="a\ud800", seq=1), "Cursor.name is a text without NUL and lone surrogates"),
        (Cursor(name="a", seq=2**63), "Cursor.seq is an integer of at most 64 bits"),
        (run("a", created_at=datetime(2013, 1, 1)), "Run.created_at is a datetime with a time zone"),  # noqa: DTZ001
        (run("a", seconds=math.nan), "Run.seconds is a number, not nan"),
        (run("a", metrics={"loss": math.nan}), "Run.metrics holds NaN"),
        (run("a", params={"deep": [1, {"x": math.inf}], "none": None}), "Run.params holds NaN or infinity"),
        (run("a", params={"what": object()}), "Run.params cannot be kept as JSON"),
        (run("a", model=None), r"NOT NULL|null value"),
    ],
)
def test_a_value_that_would_not_come_back_is_refused(store: SqlMetaStore, record: Record, says: str) -> None:
    with pytest.raises(BadRequest, match=says), store.begin() as tx:
        tx.insert(record)
    assert store.count(type(record)) == 0


def test_none_inside_json_is_kept(store: SqlMetaStore) -> None:
    record = run("a", params={"x": None, "y": [None, 1.5], "z": "null"})
    with store.begin() as tx:
        tx.insert(record)
    assert store.get(Run, "a") == record


def test_a_failure_that_the_block_swallowed_still_fails_it(store: SqlMetaStore) -> None:
    with pytest.raises(Conflict, match="cannot be committed"), store.begin() as tx:  # noqa: PT012
        tx.insert(run("a"))
        with pytest.raises(BadRequest):
            tx.insert(run("b", model=None))
    assert store.count(Run) == 0


def test_a_transaction_inside_another_is_refused(store: SqlMetaStore) -> None:
    with pytest.raises(Conflict, match="open already"), store.begin(), store.begin():
        pass
    with store.begin() as tx:
        tx.insert(run("a"))
    assert store.count(Run) == 1


def test_lock_lets_no_update_get_lost(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(Cursor(name="c", seq=0))

    def add(_: int) -> None:
        with store.begin() as tx:
            found = tx.lock(Cursor, "c")
            assert found is not None
            time.sleep(0.001)
            tx.put(replace(found, seq=found.seq + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(60)))
    assert store.get(Cursor, "c") == Cursor(name="c", seq=60)
    with store.begin() as tx:
        assert tx.lock(Cursor, "nobody") is None


def test_shared_locks_hold_up_only_who_changes(postgres_url: str) -> None:
    store = SqlMetaStore(postgres_url)
    with store.begin() as tx:
        tx.insert(Cursor(name="c", seq=0))
    both = threading.Barrier(2)

    def read(_: int) -> int:
        with store.begin() as tx:
            found = tx.lock(Cursor, "c", shared=True)
            both.wait(60)  # which they pass together, or never
            change = pool.submit(add)
            both.wait(60)
            assert not change.done()
            return found.seq if found else -1

    def add() -> None:
        with store.begin() as tx:
            found = tx.lock(Cursor, "c")
            assert found is not None
            tx.put(replace(found, seq=found.seq + 1))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(2))) == [0, 0]
    assert store.get(Cursor, "c") == Cursor(name="c", seq=2)
    store.close()


def test_of_those_who_lock_what_is_not_there_one_makes_it(store: SqlMetaStore) -> None:
    def add(number: int) -> None:
        with store.begin() as tx:
            found = tx.lock(Cursor, f"c{number % 3}")
            time.sleep(0.005)
            tx.put(Cursor(name=f"c{number % 3}", seq=found.seq + 1 if found else 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert [cursor.seq for cursor in store.find(Cursor)] == [8, 8, 8]


def test_a_condition_may_list_more_than_a_statement_has_parameters(store: SqlMetaStore) -> None:
    with store.begin() as tx:
        tx.insert(*(Cursor(name=f"c{n}", seq=n) for n in range(4)))
    many = [f"c{n}" for n in range(300_000)]
    assert store.count(Cursor, ("name", "in", many), ("seq", "in", [1, 2, *range(2**40, 2**40 + 9)])) == 2
    assert store.find(Cursor, ("name", "in", [])) == []
    assert store.find(Cursor, ("name", "in", ["c1", "'", 'é"]']), ("seq", "in", [1, 0])) == [
        Cursor(name="c1", seq=1)
    ]
    with store.begin() as tx:
        assert tx.update(Cursor, {"seq": 9}, ("name", "in", many[2:])) == 2
        assert tx.delete(Cursor, ("seq", "in", [9, 10])) == 2


def test_any_text_may_stand_in_a_list(store: SqlMetaStore) -> None:
    names = ["", "a,b", '"', "\\", '\\"', "{}", "NULL", " a ", "\n", "é", "'", "%s"]
    with store.begin() as tx:
        tx.insert(*(Cursor(name=name, seq=0) for name in [*names, "null", "a", "b"]))
    assert [found.name for found in store.find(Cursor, ("name", "in", names))] == sorted(names)


def test_some_fields_of_many_records(store: SqlMetaStore) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    runs = [
        Run(id=id, kind="run", name=id, state="running", actor="", created_at=at, params={"a": [id]})
        for id in "abc"
    ]
    with store.begin() as tx:
        tx.insert(*runs)
        found = tx.pick(Run, ("params", "id", "created_at", "ended_at"), ("id", "in", ["a", "c", "d"]))
        assert sorted(map(list, found), key=str) == [
            [{"a": ["a"]}, "a", at, None],
            [{"a": ["c"]}, "c", at, None],
        ]
    with pytest.raises(BadRequest, match="no field 'what'"):
        store.pick(Run, ("what",))


def test_values_in_a_list_are_looked_up_in_the_index(store: SqlMetaStore) -> None:
    shape, values = statements.shape_of(Param, [("run", "in", ["a", "b"])])
    with store.begin() as tx:
        tx.insert(*(Param(run=f"r{n // 10}", key=f"k{n % 10}", value="") for n in range(5_000)))
    with store.engine.connect() as connection:
        found = prepared.prepared(statements.find(Param, shape, (), False), connection.dialect)
        cursor = connection.connection.cursor()
        if store.dialect == "sqlite":
            plan = cursor.execute(f"EXPLAIN QUERY PLAN {found.text}", found.bound(values)).fetchall()
            assert any("SEARCH params USING PRIMARY KEY" in line[-1] for line in plan), plan
        else:
            cursor.execute("ANALYZE params")  # what its plans are made for
            cursor.execute("SET LOCAL enable_seqscan = off")  # which a small table is read by
            plan = cursor.execute(f"EXPLAIN {found.text}", found.bound(values)).fetchall()
            assert any("Index Cond: (run = ANY" in line[0] for line in plan), plan
            assert any("InitPlan" in line[0] for line in plan), (
                plan
            )  # the list is read once, not for each row


def test_two_inserters_of_one_key_have_one_winner(store: SqlMetaStore) -> None:
    won = []
    together = threading.Barrier(6)

    def insert(number: int) -> None:
        together.wait()
        try:
            with store.begin() as tx:
                tx.insert(Cursor(name="one", seq=number))
                time.sleep(0.01)
        except Conflict:
            return
        won.append(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(insert, range(6)))
    assert len(won) == 1
    assert store.get(Cursor, "one") == Cursor(name="one", seq=won[0])


def test_what_is_stored_outlives_the_store(store: SqlMetaStore, store_url: str) -> None:
    project = Project(
        name="p", path="/p", digest="d", source="s", declared={"model/delay": {"x": [1]}}, applied_at=AT
    )
    with store.begin() as tx:
        tx.insert(project)
    store.close()
    again = SqlMetaStore(store_url)
    assert again.get(Project, "p") == project
    again.close()


def test_an_event_that_would_not_come_back_is_refused_where_it_is_appended(store: SqlMetaStore) -> None:
    naive = Event(kind="k", subject="run/a", at=datetime(2013, 1, 1))  # noqa: DTZ001
    endless = Event(kind="k", subject="run/a", at=AT, body={"x": math.inf})
    for event, says in ((naive, "time without a zone"), (endless, "Event.body holds NaN")):
        with pytest.raises(BadRequest, match=says), store.begin() as tx:
            tx.append(event)


def test_threads_share_a_store(store: SqlMetaStore) -> None:
    def work(number: int) -> list[Alert]:
        for turn in range(10):
            with store.begin() as tx:
                name = f"{number}-{turn}"
                tx.insert(
                    Alert(
                        id=name,
                        key=name,
                        subject="s",
                        severity="page",
                        state="open",
                        summary="",
                        action="",
                        opened_at=AT,
                    )
                )
            store.count(Alert)
        return store.find(Alert, ("id", ">=", f"{number}-"), ("id", "<", f"{number}."))

    with ThreadPoolExecutor(8) as pool:
        assert [len(found) for found in pool.map(work, range(8))] == [10] * 8


def test_errors_are_of_the_one_tree(store: SqlMetaStore) -> None:
    store.engine.dispose()
    with store.begin() as tx:
        tx.append()
    with pytest.raises(HomeostatError), store.begin() as tx:
        tx._run("SELECT * FROM nowhere")
