"""Tables with versions, as plain Delta Lake directories. Nothing here knows what a table's columns mean."""

from homeostat.adapters.tables.delta import DeltaTables

__all__ = ["DeltaTables"]
