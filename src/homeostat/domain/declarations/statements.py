"""What a model card needs and no record can know: people say it, in the project or in tags ``card.…``."""

from __future__ import annotations

from typing import Final

# In the order of the sections of Mitchell et al., 2019, https://doi.org/10.1145/3287560.3287596.
STATEMENTS: Final = {
    "owner": "who answers for the model",
    "license": "under which licence it may be used",
    "intended_use": "what it is meant for, and by whom it is to be used",
    "out_of_scope": "what it must not be used for",
    "factors": "the groups, instruments and environments that matter for its quality",
    "ethical_considerations": "what harm it could do, and what was done against it",
    "caveats": "what else one should know before using it",
}
