"""Streams of runs: each frame counts once, whatever comes twice, late, damaged or wrong."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.app.container import Container
from homeostat.app.settings import Settings
from homeostat.app.tracking import delete_run, history, run, run_data
from homeostat.app.tracking.experiments import delete_experiment, experiment_by_name
from homeostat.app.tracking.streams import Taken, position, take
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.domain.records import Run
from homeostat.domain.tracking import MetricBlock
from homeostat.engine.tracking import rows
from homeostat.engine.tracking.entries import Began, Ended, Entry, File, Input, Params, Points, Tags, encode
from homeostat.engine.tracking.frames import frame

AT = 1_700_000_000_000


@pytest.fixture
def container(store_url: str, tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home", store=store_url)) as container:
        yield container


def points(*given: tuple[str, float, int]) -> Points:
    """Points of (key, value, step), a millisecond apart."""
    import numpy as np

    number = {key: place for place, key in enumerate(dict.fromkeys(key for key, _, _ in given))}
    table = np.array([(number[k], v, AT + n, s) for n, (k, v, s) in enumerate(given)], rows.ROW)
    return Points(keys=list(number), rows=table.tobytes())


def frames(*entries: Entry, stream: str = "S1", first: int = 1) -> bytes:
    return b"".join(frame(stream, number, encode(entry)) for number, entry in enumerate(entries, first))


BEGAN = Began(experiment="exp", name="first", actor="ada", at=AT, tags={"a": "1"})


def test_everything_a_stream_says(container: Container) -> None:
    said = frames(
        BEGAN,
        Params(values={"lr": "0.1", "depth": "3"}),
        points(("loss", 0.5, 0), ("acc", 0.1, 0), ("loss", 0.25, 1)),
        Tags(values={"b": "2", "a": None}),
        Input(name="rows", digest="d1", source_type="local", source="/rows.csv", tags={"context": "train"}),
        File(path="a.txt", size=3),
        points(("acc", math.nan, 1), ("acc", 0.2, 1)),
        Ended(state="succeeded", at=AT + 5000),
    )
    assert take(container, "r1", "S1", 0, said) == Taken(8)
    found = run(container, "r1")
    assert (found.state, found.name, found.actor, found.kind) == ("succeeded", "first", "ada", "run")
    assert found.started_at is not None
    assert found.ended_at is not None
    assert (found.ended_at - found.started_at).total_seconds() == 5
    experiment = experiment_by_name(container, "exp")
    assert experiment is not None
    assert found.experiment == experiment.id
    data = run_data(container, ["r1"])["r1"]
    assert data.params == {"lr": "0.1", "depth": "3"}
    assert data.tags == {"b": "2", "mlflow.runName": "first"}
    assert {(m.key, m.value, m.step) for m in data.metrics} == {("loss", 0.25, 1), ("acc", 0.2, 1)}
    assert [one.source for one in data.inputs] == ["/rows.csv"]
    assert history(container, "r1", "loss").value.tolist() == [0.5, 0.25]
    assert len(history(container, "r1", "acc")) == 3
    kinds = [event.kind for event in container.ledger.find(subject="run/r1", newest=False)]
    assert kinds == ["run.created", "run.read", "run.succeeded"]


def test_what_comes_again_counts_once(container: Container) -> None:
    first = frames(BEGAN, points(("loss", 1.0, 0)))
    more = frames(points(("loss", 2.0, 1)), points(("loss", 3.0, 2)), first=3)
    for _ in range(2):
        assert take(container, "r1", "S1", 0, first) == Taken(2)
    assert take(container, "r1", "S1", 2, more) == Taken(4)
    assert take(container, "r1", "S1", 0, first) == Taken(4)
    assert take(container, "r1", "S1", 0, first + more) == Taken(4)
    assert take(container, "r1", "S1", 2, more + frames(points(("loss", 4.0, 3)), first=5)) == Taken(5)
    assert history(container, "r1", "loss").step.tolist() == [0, 1, 2, 3]
    assert sum(block.count for block in container.store.find(MetricBlock)) == 4
    assert position(container, "r1", "S1") == 5
    assert position(container, "r1", "other") == 0


def test_a_sender_that_is_ahead_is_told_so(container: Container) -> None:
    with pytest.raises(Conflict, match="up to 0, not 2"):
        take(container, "r1", "S1", 2, frames(points(("loss", 1.0, 0)), first=3))
    assert container.store.count(Run) == 0
    take(container, "r1", "S1", 0, frames(BEGAN))
    # What was lost on the sender's disk is passed over; it says so there.
    assert take(container, "r1", "S1", 1, frames(points(("loss", 1.0, 0)), first=9)) == Taken(9)


def test_senders_at_once(container: Container) -> None:
    """Many of the same stream, as of two processes that sync one folder: all arrives, once."""
    said = [BEGAN, *(points(*((f"m{key}", float(n), n) for key in range(3))) for n in range(40))]
    failed: list[BaseException] = []

    def send() -> None:
        try:
            after = 0
            while after < len(said):
                try:
                    after = take(
                        container, "r1", "S1", after, frames(*said[after : after + 3], first=after + 1)
                    ).seq
                except Conflict:  # both made the run
                    after = position(container, "r1", "S1")
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(block.count for block in container.store.find(MetricBlock)) == 120
    assert [event.kind for event in container.ledger.find(subject="run/r1")] == ["run.created"]


def test_what_cannot_be_is_refused_and_the_rest_taken(container: Container) -> None:
    broken = frame("S1", 3, b"\x81\xa4type\xa5cloud")
    said = (
        frames(BEGAN, Params(values={"lr": "0.1"}))
        + broken
        + frames(
            Params(values={"lr": "0.2", "depth": "3"}),
            points(("bad\nname", 1.0, 0)),
            Points(keys=["loss"], rows=b"12345"),
            points(("loss", 1.0, 0)),
            Tags(values={"k": "x" * 9000}),
            Input(name="", digest="d"),
            first=4,
        )
    )
    taken = take(container, "r1", "S1", 0, said)
    assert taken.seq == 9
    assert [refusal.seq for refusal in taken.refused] == [3, 4, 5, 6, 8, 9]
    assert "'lr' is '0.1' already" in taken.refused[1].reason
    data = run_data(container, ["r1"])["r1"]
    assert data.params == {"lr": "0.1", "depth": "3"}
    assert [(m.key, m.value) for m in data.metrics] == [("loss", 1.0)]
    again = take(container, "r1", "S1", 9, frames(Params(values={"lr": "0.3"}), first=10))
    assert [refusal.seq for refusal in again.refused] == [10]


def test_what_only_the_store_refuses_holds_up_nothing(container: Container) -> None:
    said = frames(BEGAN, Tags(values={"k": "a\0b"}), points(("loss", 1.0, 0)))
    taken = take(container, "r1", "S1", 0, said)
    assert (taken.seq, [refusal.seq for refusal in taken.refused]) == (3, [2])
    assert len(history(container, "r1", "loss")) == 1
    assert take(container, "r1", "S1", 0, said) == Taken(3)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"x" + data]
)
def test_what_was_damaged_on_its_way_is_asked_for_again(container: Container, spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(BadRequest, match="damaged"):
        take(container, "r1", "S1", 0, spoil(frames(BEGAN, points(("loss", 1.0, 0)))))
    assert container.store.count(Run) == 0


@pytest.mark.parametrize(("run_id", "stream"), [("../r1", "S1"), ("", "S1"), ("r1", "S/1"), ("r" * 65, "S1")])
def test_names_that_cannot_be(container: Container, run_id: str, stream: str) -> None:
    with pytest.raises(BadRequest):
        take(container, run_id, stream, 0, frames(BEGAN))


def test_a_run_goes_on_and_what_comes_late_changes_nothing_newer(container: Container) -> None:
    old = [
        BEGAN,
        points(("loss", 1.0, 0)),
        Tags(values={"a": "old", "c": "old"}),
        Ended(state="failed", at=AT + 10),
    ]
    new = [
        Began(experiment="elsewhere", at=AT + 100, tags={"a": "new"}),
        points(("loss", 2.0, 1)),
        Ended(state="succeeded", at=AT + 200),
    ]
    take(container, "r1", "S2", 0, frames(*new, stream="S2"))
    assert take(container, "r1", "S1", 0, frames(*old)).refused == []
    found = run(container, "r1")
    assert (found.state, found.error) == ("succeeded", "")
    assert found.started_at is not None
    assert found.started_at.timestamp() * 1000 == AT
    tags = run_data(container, ["r1"])["r1"].tags
    assert (tags["a"], tags["c"]) == ("new", "old")
    assert history(container, "r1", "loss").value.tolist() == [1.0, 2.0]
    take(container, "r1", "S3", 0, frames(Began(experiment="exp", at=AT + 300), stream="S3"))
    assert run(container, "r1").state == "running"
    assert run(container, "r1").ended_at is None


def test_a_run_that_goes_on_at_no_known_time_began_when_it_did(container: Container) -> None:
    take(container, "r1", "S1", 0, frames(BEGAN))
    take(container, "r1", "S2", 0, frames(Began(experiment="exp", at=0), stream="S2"))
    started = run(container, "r1").started_at
    assert started is not None
    assert started.timestamp() * 1000 == AT


def test_who_joins_neither_begins_nor_ends(container: Container) -> None:
    take(container, "r1", "S1", 0, frames(BEGAN))
    join = Began(experiment="exp", at=AT + 1, join=True)
    said = frames(join, points(("loss", 1.0, 0)), Ended(state="failed", at=AT + 2), stream="S2")
    take(container, "r1", "S2", 0, said)
    assert run(container, "r1").state == "running"
    take(container, "r1", "S1", 1, frames(Ended(state="succeeded", at=AT + 3), first=2))
    assert run(container, "r1").state == "succeeded"


def test_a_run_whose_beginning_was_lost_and_one_that_was_deleted(container: Container) -> None:
    take(container, "r1", "S1", 0, frames(points(("loss", 1.0, 0)), first=2))
    assert run(container, "r1").experiment == 0
    delete_run(container, "r1")
    take(container, "r1", "S1", 2, frames(points(("loss", 2.0, 1)), first=3))
    assert run(container, "r1").deleted_at is not None
    assert len(history(container, "r1", "loss")) == 2


def test_a_deleted_experiment_is_named(container: Container) -> None:
    take(container, "r1", "S1", 0, frames(BEGAN))
    experiment = experiment_by_name(container, "exp")
    assert experiment is not None
    delete_experiment(container, experiment.id)
    taken = take(container, "r2", "S2", 0, frames(BEGAN, stream="S2"))
    assert "deleted" in taken.refused[0].reason
    assert run(container, "r2").experiment == experiment.id


def test_many_keys_and_points(container: Container) -> None:
    wide = points(*((f"k{n}", float(n), 0) for n in range(40_000)))
    other = points(*((f"j{n}", float(n), 0) for n in range(40_000)))
    assert take(container, "r1", "S1", 0, frames(BEGAN, wide, other)) == Taken(3)
    assert container.store.count(MetricBlock) < 10
    assert history(container, "r1", "k39999").value.tolist() == [39_999.0]
    assert history(container, "r1", "j5").value.tolist() == [5.0]


def test_datasets_that_are_kept_here_are_where_a_run_came_from(container: Container) -> None:
    version = Input(name="f", digest="version 3", source_type="homeostat", source="dataset/f@3")
    other = Input(name="g", digest="d", source_type="homeostat", source="somewhere else")
    taken = take(container, "r1", "S1", 0, frames(BEGAN, version, version, other))
    assert [refusal.seq for refusal in taken.refused] == [4]
    take(container, "r1", "S1", 4, frames(version, first=5))
    edges = container.ledger.edges("run/r1", "up")
    assert [(edge.source, edge.role) for edge in edges] == [("dataset/f@3", "input")]
    assert len(container.ledger.find(subject="run/r1", kinds=["run.read"])) == 1
