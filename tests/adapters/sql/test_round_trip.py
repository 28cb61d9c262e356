"""Every record class comes back equal, whatever it holds; its table has its fields and no others."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeostat.adapters.sql import SqlMetaStore
from homeostat.adapters.sql.tables import TABLES
from homeostat.domain import records, traces, tracking, trials
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import Record

KINDS = [
    kind
    for kind in {**vars(records), **vars(tracking), **vars(traces), **vars(trials)}.values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
# JSON text escapes NUL, so inside JSON it may stand; in a column of PostgreSQL it may not.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
ZONES = st.just(UTC) | st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    int: st.integers(-(2**63), 2**63 - 1),
    float: FINITE,
    bool: st.booleans(),
    bytes: st.binary(max_size=64),
    datetime: st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES),  # noqa: DTZ001
    Any: JSON,
    types.NoneType: st.none(),
}


def values(hint: Any, *, json: bool = False) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is str and json:
        return ANY_TEXT
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of(*(values(part, json=json) for part in inner))
    if origin is dict:
        return st.dictionaries(values(inner[0], json=True), values(inner[1], json=True), max_size=4)
    if origin is list:
        return st.lists(values(inner[0], json=True), max_size=4)
    fields = {field.name: values(field.type, json=True) for field in msgspec.structs.fields(hint)}
    return st.builds(hint, **fields)


def of(kind: type[Record]) -> st.SearchStrategy[Record]:
    return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlMetaStore]:
    """One store for every example."""
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("sqlite")
        store = SqlMetaStore(f"sqlite:///{folder}/store.db")
    else:
        store = SqlMetaStore(request.getfixturevalue("databases").shared)
    yield store
    store.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_record_comes_back_equal(lasting: SqlMetaStore, kind: type[Record], data: st.DataObject) -> None:
    record = data.draw(of(kind))
    key = tuple(getattr(record, name) for name in kind.KEY)
    with lasting.begin() as tx:
        tx.put(record)
        assert tx.lock(kind, *key) == record
    found = lasting.get(kind, *key)
    assert found == record
    assert type(found) is kind
    assert lasting.find(kind, *((name, "=", getattr(record, name)) for name in kind.KEY)) == [record]
    for field in msgspec.structs.fields(kind):
        back, given_ = getattr(found, field.name), getattr(record, field.name)
        assert type(back) is type(given_)
        if isinstance(back, datetime):
            assert back.tzinfo is UTC
    with lasting.begin() as tx:
        assert tx.delete(kind, *((name, "=", getattr(record, name)) for name in kind.KEY)) == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_table_has_the_fields_of_its_record(kind: type[Record]) -> None:
    table = TABLES[kind]
    fields = msgspec.structs.fields(kind)
    assert [column.name for column in table.c] == [field.name for field in fields]
    assert [column.name for column in table.primary_key] == list(kind.KEY)
    nullable = [field.name for field in fields if types.NoneType in get_args(field.type)]
    assert [column.name for column in table.c if column.nullable] == nullable


def test_every_record_class_has_a_table() -> None:
    assert set(TABLES) == set(KINDS)


@pytest.mark.parametrize(("year", "hours"), [(1, 14), (9999, -12)])
def test_a_time_that_utc_has_not_is_refused(lasting: SqlMetaStore, year: int, hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    at = datetime(year, 1, 1, tzinfo=zone) if year == 1 else datetime(year, 12, 31, 23, tzinfo=zone)
    with pytest.raises(BadRequest, match="beyond the calendar"), lasting.begin() as tx:
        tx.put(records.Alias(model="m", alias="a", version=1, at=at))
