"""The history of the tables, as Alembic migrations; ``schema.py`` runs them.

To change a table: change the record class or ``tables.py``, add ``versions/v<number>_<what>.py`` with the
next four-digit revision, and raise ``schema.REVISION``. A test compares what the migrations make with the
tables.
"""
