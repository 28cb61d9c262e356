"""Alembic's way in: runs migrations on the connection it was given, in the transaction that is open there."""

from alembic import context

from homeostat.adapters.sql.schema import VERSION_TABLE
from homeostat.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
