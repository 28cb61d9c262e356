"""Model formats: how a fitted model becomes a file and is read back without running code from it.

One module a format, each with what ``Format`` names; which one keeps a model follows from the model's type. The
library of a format is imported when a model of it is kept or read.
"""

from homeostat.engine.registry.formats.choosing import DETAILS, MODEL_FILES, classifier, dump, load, prepare
from homeostat.engine.registry.formats.pickles import ALLOWED as PICKLED

__all__ = ["DETAILS", "MODEL_FILES", "PICKLED", "classifier", "dump", "load", "prepare"]
