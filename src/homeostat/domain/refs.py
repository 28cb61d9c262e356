"""One reference syntax everywhere: ``kind/name@version``, as in ``model/flight-delay@champion``.

Models that clients register may have names of nearly any text: in a reference ``@``, ``%`` and control characters
of it are written as in a URL.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from homeostat.domain.errors import BadReference

KINDS: Final = frozenset(
    {
        "alert",
        "blob",
        "channel",
        "code",
        "dataset",
        "deployment",
        "experiment",
        "feature-view",
        "logged-model",
        "message",
        "model",
        "pipeline",
        "prediction",
        "project",
        "rollout",
        "run",
        "silence",
        "step",
        "trigger",
        "worker",
    }
)
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REF: Final = re.compile(rf"(?P<kind>[a-z-]+)/(?P<name>{_NAME})(?:@(?P<version>{_NAME}))?")
_MODEL: Final = re.compile(r"(?P<kind>model)/(?P<name>[^/:@]+)(?:@(?P<version>[\w.-]+))?")
_BARE: Final = re.compile(_NAME)
_ESCAPED: Final = re.compile(r"[%@\x00-\x1f\x7f]")


class Ref(msgspec.Struct, frozen=True, order=True):
    """A reference to one thing, optionally at one version or alias."""

    kind: str
    name: str
    version: str = ""

    def __str__(self) -> str:
        name = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", self.name)
        return f"{self.kind}/{name}@{self.version}" if self.version else f"{self.kind}/{name}"

    def at(self, version: int | str) -> Ref:
        """The same thing at ``version``."""
        return Ref(self.kind, self.name, str(version))


def parse_ref(text: str) -> Ref:
    """Parse ``kind/name[@version]``.

    Raises:
        BadReference: ``text`` has another form or an unknown kind.
    """
    match = _REF.fullmatch(text) or _MODEL.fullmatch(text)
    if match is None:
        raise BadReference(
            f"{text!r} is no reference",
            remedy="Write kind/name or kind/name@version, as in model/churn@champion",
        )
    if match["kind"] not in KINDS:
        raise BadReference(f"{text!r} has an unknown kind", remedy=f"Use one of {', '.join(sorted(KINDS))}")
    return Ref(match["kind"], unquote(match["name"]), match["version"] or "")


def number_of(text: str) -> int | None:
    """The number of a version, or another id, in ``text``: 1 to 18 of the digits 0 to 9; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def is_name(text: str) -> bool:
    """Whether ``text`` may name a thing: letters, digits, and inside also dot, dash and underscore."""
    return _BARE.fullmatch(text) is not None
