"""What stands between a version that passed its gates and its deployment, and what is verified as one is loaded."""

from __future__ import annotations

import logging
from typing import NamedTuple

from homeostat.app import approvals, signatures
from homeostat.app.container import Container
from homeostat.app.registry import deprecation
from homeostat.domain.records import ModelVersion

_log = logging.getLogger(__name__)


class Obstacle(NamedTuple):
    """Why a version cannot be deployed, and what to do about it."""

    why: str
    remedy: str


def obstacle(container: Container, record: ModelVersion) -> Obstacle | None:
    """The first thing that keeps a version from being deployed; None: nothing does."""
    name = f"{record.model}@{record.version}"
    if why := deprecation.over(container, container.store, record.model, record.version):
        return Obstacle(why, f"Deploy another version, or homeostat models deprecate {name} --undo")
    if why := signatures.awaits(container, record):
        return Obstacle(why, signatures.remedy(record))
    if why := approvals.awaits(container, record):
        return Obstacle(why, f"homeostat approve {name} --reason …")
    return None


def ask(container: Container, record: ModelVersion) -> bool:
    """Tell people what an accepted version waits for; says whether it waits."""
    if deprecation.over(container, container.store, record.model, record.version):
        return True  # whoever deprecated it knows
    unsigned = signatures.awaits(container, record)
    if unsigned:
        signatures.ask(container, record, unsigned)
    unapproved = approvals.awaits(container, record)
    if unapproved:
        approvals.ask(container, record)
    return bool(unsigned or unapproved)


def check_loading(container: Container, record: ModelVersion) -> None:
    """Verify what a project wants signed, and warn of what is deprecated, before a version is loaded to answer.

    Raises:
        Unsafe: it lacks the signatures that the project asks for.
        NotInstalled: it has some, and the extra ``signing`` is missing.
    """
    signatures.check(container, record)
    found = deprecation.of(container.store, record.model, record.version)
    if found is not None:
        _log.warning("model/%s@%s is %s", record.model, record.version, deprecation.told(found))
