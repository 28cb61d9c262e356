"""Migrations make what an empty database gets; a store knows whether its database is behind, right or ahead."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from homeostat.adapters.sql import SqlMetaStore, schema
from homeostat.adapters.sql.tables import metadata
from homeostat.domain.errors import StoreUnavailable
from homeostat.domain.events import GENESIS
from homeostat.domain.records import Cursor


@pytest.fixture(params=["at once", "by migrations"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the tables of an empty database are made."""
    if request.param == "by migrations":
        monkeypatch.setattr(schema, "create", schema.upgrade)


@pytest.mark.usefixtures("made")
def test_an_empty_database_gets_exactly_the_tables(bare_url: str) -> None:
    store = SqlMetaStore(bare_url)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "target_metadata": metadata, "version_table": schema.VERSION_TABLE},
        )
        assert compare_metadata(context, metadata) == []
        found = inspect(connection)
        for table in metadata.tables.values():
            assert found.get_pk_constraint(table.name)["constrained_columns"] == [
                c.name for c in table.primary_key
            ]
        (head,) = connection.execute(text("SELECT id, seq, hash FROM ledger_head")).all()
        (version,) = connection.execute(text(f"SELECT version_num FROM {schema.VERSION_TABLE}")).all()
    assert (tuple(head), version[0]) == ((1, 0, GENESIS), schema.REVISION)
    store.close()


@pytest.mark.usefixtures("made")
def test_texts_sort_by_code_point_whatever_the_locale(postgres_url: str) -> None:
    store = SqlMetaStore(postgres_url)
    with store.engine.connect() as connection:
        other = connection.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
                " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
            )
        ).fetchall()
    assert other == []
    store.close()


def test_the_revision_is_the_last_migration(store: SqlMetaStore) -> None:
    with store.engine.connect() as connection:
        scripts = ScriptDirectory.from_config(schema.configuration(connection))
        assert scripts.get_heads() == [schema.REVISION]
        assert all(
            script.revision.isdigit() and len(script.revision) == 4 for script in scripts.walk_revisions()
        )


def test_migrations_can_be_undone(bare_url: str) -> None:
    from alembic import command

    store = SqlMetaStore(bare_url)
    with store.engine.connect() as connection:
        command.downgrade(schema.configuration(connection), "base")
        assert inspect(connection).get_table_names() == [schema.VERSION_TABLE]
    store.close()
    again = SqlMetaStore(bare_url)
    assert again.count(Cursor) == 0
    again.close()


@pytest.mark.parametrize("found", ["0002", "9999", "1975ea83b712"])
def test_a_newer_database_is_refused_with_what_to_do(bare_url: str, found: str) -> None:
    store = SqlMetaStore(bare_url)
    with store.engine.connect() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{found}'"))
    with pytest.raises(StoreUnavailable, match=rf"version {found}.*newer.*pip install --upgrade"):
        SqlMetaStore(bare_url)
    store.close()


@pytest.mark.usefixtures("made")
def test_what_fails_leaves_the_database_as_it_was(bare_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = schema.create

    def half(connection: Any) -> None:
        whole(connection)
        raise ZeroDivisionError

    monkeypatch.setattr(schema, "create", half)
    with pytest.raises(ZeroDivisionError):
        SqlMetaStore(bare_url)
    monkeypatch.setattr(schema, "create", whole)
    store = SqlMetaStore(bare_url)
    assert store.count(Cursor) == 0
    store.close()


def test_opening_a_store_that_is_empty_or_up_to_date_imports_no_alembic(bare_url: str) -> None:
    script = (
        "import sys; from homeostat.adapters.sql import SqlMetaStore; SqlMetaStore(sys.argv[1]).close();"
        "sys.exit('alembic' in sys.modules)"
    )
    for _ in ("empty", "up to date"):
        assert subprocess.run([sys.executable, "-c", script, bare_url], check=False).returncode == 0
