"""Embeddings: vectors of a contract, from the table and the request to the log, watched together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import polars as pl
import pytest

import homeostat as hs
from homeostat.adapters.clock import SimulatedClock
from homeostat.app import explain
from homeostat.app.apply import apply
from homeostat.app.backtest.history import _file_rows
from homeostat.app.container import Container
from homeostat.app.controller import Controller
from homeostat.app.deliveries import ingest
from homeostat.app.outcomes import log_of
from homeostat.app.projects import load_project
from homeostat.app.reactors import react_all
from homeostat.app.reading import read
from homeostat.app.settings import Settings
from homeostat.domain.contracts import columns_of
from homeostat.domain.errors import BadRequest, ContractBroken, DeclarationError
from homeostat.domain.records import Alert
from homeostat.engine.serving.requests import RequestReader
from tests.app.asking import ask, trained

START = datetime(2024, 1, 1, tzinfo=UTC)
SIZE = 36
PROJECT = f"""
from typing import Annotated

import homeostat as hs
from sklearn.linear_model import LogisticRegression


class Text(hs.Contract):
    id: int
    words: int
    meaning: Annotated[list[float], hs.Check(size={SIZE})]


class Answer(hs.Contract):
    id: int
    good: bool


texts = hs.Dataset("texts", key="id", contract=Text)
answers = hs.Dataset("answers", key="id", contract=Answer)

shop = hs.Model(
    "shop",
    task=hs.Binary(label="good", source=answers, request=texts),
    train=lambda data: LogisticRegression().fit(data.X, data.y),
    holdout=0.1,
    retrain=hs.when(hs.drift(joint=True, of="meaning", floor=0.2), cooldown="90d"),
)
"""


class Item(hs.Contract):
    id: int
    meaning: Annotated[list[float], hs.Check(size=3)]
    taste: Annotated[list[float], hs.Check(size=2)] | None


def texts(count: int, first: int, by: float = 0.0) -> pl.DataFrame:
    """What each means lies in eight directions of the vector; ``by`` moves it in one of them."""
    directions = np.random.default_rng(0).normal(size=(8, SIZE))
    rng = np.random.default_rng(first + 1)
    inner = rng.normal(size=(count, 8)) + by * np.eye(8)[0]
    vectors = inner @ directions / 3 + rng.normal(0, 0.2, (count, SIZE))
    ids = np.arange(first, first + count)
    words = rng.integers(1, 9, count)
    return pl.DataFrame({"id": ids, "words": words, "meaning": vectors.tolist()})


def test_an_embedding_that_drifts_is_found_with_the_promise(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)
    home = tmp_path / "home"
    home.mkdir()
    SimulatedClock(home / "clock", START).close()
    with Container(Settings(home=home, clock="simulated")) as container:
        clock = container.clock
        assert isinstance(clock, SimulatedClock)
        apply(container, load_project(tmp_path))
        known = texts(2500, 0)
        ingest(container, "texts", known)
        good = (known["meaning"].list.get(0) > 0).alias("good")
        ingest(container, "answers", known.select("id", good))
        assert trained(container, "shop").stage == "accepted"
        react_all(container)
        e = []
        for turn, by in enumerate((0.0, 1.5, 1.5)):
            clock.set(clock.now() + timedelta(hours=12))
            ask(container, "shop", texts(300, 10_000 + 300 * turn, by))
            clock.set(clock.now() + timedelta(hours=12))
            Controller(container).tick()
            (found,) = explain.why(container, "shop", limit=1)
            e.append(found.value)
        logged = read(container, log_of("shop")).collect()
        asked = texts(300, 10_000)["meaning"]
        assert logged["meaning__35"].to_list()[:300] == asked.list.get(35).to_list()
        assert max(e[:2]) < 1
        assert e[2] >= 22.2
        (ticket,) = container.store.find(Alert, ("state", "=", "open"))
        assert (ticket.severity, ticket.detail["suspects"]) == ("ticket", ["meaning"])
        assert f"of {SIZE} features" in found.reason


def test_a_vector_is_asked_with_as_a_list_or_by_its_numbers() -> None:
    columns = columns_of(Item)
    assert [(one.name, one.nullable) for one in columns] == [
        ("id", False),
        *((f"meaning__{i}", False) for i in range(3)),
        *((f"taste__{i}", True) for i in range(2)),
    ]
    reader = RequestReader(columns)
    (listed,), many = reader.read(b'{"id": 1, "meaning": [1, 2.5, -3]}')
    assert not many
    assert msgspec.to_builtins(listed) == {
        "id": 1,
        "meaning__0": 1.0,
        "meaning__1": 2.5,
        "meaning__2": -3.0,
        "taste__0": None,
        "taste__1": None,
    }
    rows, many = reader.read(b'{"instances": [{"id": 1, "meaning": [1, 2.5, -3], "taste": [0, 1]}]}')
    assert many
    assert (rows[0].taste__0, rows[0].taste__1) == (0.0, 1.0)  # type: ignore[attr-defined] # made at run time
    assert reader.read(b'{"id": 1, "meaning__0": 1, "meaning__1": 2.5, "meaning__2": -3}')[0] == [listed]
    with pytest.raises(BadRequest, match="has 2 numbers, and 3 are declared") as short:
        reader.read(b'{"id": 1, "meaning": [1, 2]}')
    assert short.value.field == "meaning"
    with pytest.raises(BadRequest, match="Expected `float`") as text:
        reader.read(b'{"id": 1, "meaning": [1, 2, "x"]}')
    assert text.value.field.endswith("meaning__2")


def test_a_file_to_replay_holds_vectors_as_lists(tmp_path: Path) -> None:
    file = tmp_path / "texts.parquet"
    texts(3, 0).with_columns(meaning=pl.col("meaning").list.head(3)).drop("words").write_parquet(file)
    rows = _file_rows(hs.Dataset("items", key="id", contract=Item), file)
    assert rows.columns == ["id", "meaning__0", "meaning__1", "meaning__2"]


def test_vectors_of_another_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(PROJECT)
    with Container(Settings(home=tmp_path / "home")) as container:
        apply(container, load_project(tmp_path))
        short = texts(3, 0).with_columns(meaning=pl.col("meaning").list.head(7))
        with pytest.raises(ContractBroken, match=f"'meaning' of 7 numbers, and its contract says {SIZE}"):
            ingest(container, "texts", short)
        fixed = texts(3, 0).with_columns(meaning=pl.col("meaning").list.to_array(SIZE))
        assert ingest(container, "texts", fixed).accepted == 3
    for wrong in ("list[float]", f"Annotated[list[str], hs.Check(size={SIZE})]"):
        (tmp_path / "project.py").write_text(
            PROJECT.replace(f"Annotated[list[float], hs.Check(size={SIZE})]", wrong)
        )
        with pytest.raises(DeclarationError, match="list that no column can hold"):
            load_project(tmp_path)
