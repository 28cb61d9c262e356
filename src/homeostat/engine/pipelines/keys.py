"""The key of an execution: a digest of the code and of what it is given. Equal keys, equal results."""

from __future__ import annotations

from homeostat.domain.declarations.code import code_digest
from homeostat.domain.declarations.pipelines import Step
from homeostat.domain.digests import digest_of


def key_of(step: Step, arguments: dict[str, str]) -> str:
    """The key of executing ``step`` with arguments of these digests, by name.

    Raises:
        NoDigest: its code uses what cannot be told from others like it.
    """
    return digest_of({"code": code_digest(step.function), "arguments": arguments})
