"""Imports: tracked work from another tracker's files or database, or from an export, each run whole or not at all.

Ids, names and numbers stay what they were. A second import adds what is new in the source, and nothing else: so it
also ends what a killed one began. What is here already is never changed by what the source says.
"""

from homeostat.app.importing.steps import Progress, Steps
from homeostat.app.importing.summary import Count, Note, Summary
from homeostat.app.importing.tracking import import_tracking

__all__ = ["Count", "Note", "Progress", "Steps", "Summary", "import_tracking"]
