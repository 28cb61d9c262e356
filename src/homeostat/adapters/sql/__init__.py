"""Records and the ledger in SQLite or PostgreSQL: one set of tables, one code path, two dialects.

Nothing outside this package sees a table, a statement or a connection.
"""

from homeostat.adapters.sql.ledger import SqlLedger
from homeostat.adapters.sql.store import SqlMetaStore

__all__ = ["SqlLedger", "SqlMetaStore"]
