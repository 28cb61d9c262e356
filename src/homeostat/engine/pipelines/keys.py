"""The key of an execution: a digest of the code and of what it is given. Equal keys, equal results.

The code of a step is what ``domain/declarations/code.py`` follows; the values of names count here too, so that a table
that is read when the module is loaded is part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homeostat.domain.declarations import code
from homeostat.domain.declarations.pipelines import Step
from homeostat.domain.digests import digest_of
from homeostat.engine.pipelines import codec


def key_of(step: Step, arguments: dict[str, str]) -> str:
    """The key of executing ``step`` with arguments of these digests, by name."""
    return digest_of({"code": code_digest(step.function), "arguments": arguments})


def code_digest(function: Callable[..., Any]) -> str:
    """The digest of what ``function`` does, as far as its project says it.

    Raises:
        NotKept: it closes over a value that has no digest.
    """
    try:
        return code.code_digest(function, _content)
    except code.NoDigest as error:
        raise codec.NotKept(str(error)) from error


def _content(value: Any) -> bytes | None:
    try:
        return codec.encode(value)
    except codec.NotKept:
        return None
