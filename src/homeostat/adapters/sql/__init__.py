"""Records, the search among them and the ledger in SQLite or PostgreSQL: one set of tables and code, two dialects.

Nothing outside this package sees a table, a statement or a connection.
"""

from homeostat.adapters.sql.ledger import SqlLedger
from homeostat.adapters.sql.points import SqlPoints
from homeostat.adapters.sql.search import SqlSearch
from homeostat.adapters.sql.store import SqlMetaStore

__all__ = ["SqlLedger", "SqlMetaStore", "SqlPoints", "SqlSearch"]
