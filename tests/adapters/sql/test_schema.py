"""Migrations make exactly the tables; a store knows whether its database is behind, right or ahead."""

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
from homeostat.domain.records import Cursor


def test_migrations_make_exactly_the_tables(bare_url: str) -> None:
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
    store.close()


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


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    bare_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = schema.upgrade

    def half(connection: Any) -> None:
        whole(connection)
        raise ZeroDivisionError

    monkeypatch.setattr(schema, "upgrade", half)
    with pytest.raises(ZeroDivisionError):
        SqlMetaStore(bare_url)
    monkeypatch.undo()
    store = SqlMetaStore(bare_url)
    assert store.count(Cursor) == 0
    store.close()


def test_opening_a_store_that_is_up_to_date_imports_no_alembic(store: SqlMetaStore, store_url: str) -> None:
    script = (
        "import sys; from homeostat.adapters.sql import SqlMetaStore; SqlMetaStore(sys.argv[1]).close();"
        "sys.exit('alembic' in sys.modules)"
    )
    assert store.dialect
    assert subprocess.run([sys.executable, "-c", script, store_url], check=False).returncode == 0
