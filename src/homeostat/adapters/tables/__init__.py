"""Tables with versions: plain Delta Lake directories, and Arrow files. Nothing here knows what columns mean."""

from homeostat.adapters.tables.arrow import ArrowTables
from homeostat.adapters.tables.delta import DeltaTables

__all__ = ["ArrowTables", "DeltaTables"]
