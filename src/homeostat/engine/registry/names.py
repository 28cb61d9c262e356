"""What registered models, aliases and labels may be called: MLflow's rules, in whose words a refusal begins."""

from __future__ import annotations

import json
import posixpath
import re
from typing import Final

from homeostat.domain.errors import BadRequest

NAME: Final = 256  # as in MLflow's tables; two of them fit into an index entry of PostgreSQL
ALIAS: Final = 255
RUN: Final = 256
SOURCE: Final = 10_000
TAG_VALUE: Final = 100_000
DESCRIPTION: Final = 100_000
CHAMPION: Final = "champion"
LATEST: Final = "latest"
UNLABELLED: Final = "None"
ARCHIVED: Final = "Archived"
ACTIVE: Final = ("Staging", "Production")
LABELS: Final = (UNLABELLED, *ACTIVE, ARCHIVED)
PROMPT: Final = "mlflow.prompt.is_prompt"
"""The tag of what is a prompt and no model: MLflow keeps both in the registry."""
PROMPT_TEXT: Final = "mlflow.prompt.text"

_ALIAS: Final = re.compile(r"[\w-]+")
_VERSION: Final = re.compile(r"[vV]\d+")


def check_model_name(name: str, field: str = "name") -> None:
    """Check the name of a registered model.

    Raises:
        BadRequest: it is empty or too long, has a slash or a colon, or reads as a path to somewhere else.
    """
    if not name.strip():
        raise BadRequest(f"Missing value for required parameter '{field}'.", field=field)
    if len(name) > NAME:
        raise BadRequest(f"'{field}' exceeds the maximum length of {NAME} characters", field=field)
    if "/" in name or ":" in name:
        raise BadRequest(f"Invalid model name '{name}'. Names cannot contain '/' or ':'.", field=field)
    if name == "." or name.startswith(".."):
        raise BadRequest(
            f"Invalid value {json.dumps(name)} for parameter '{field}' supplied: Names may be treated as files in"
            " certain cases, and must not resolve to other names when treated as such. This name would resolve to"
            f" {posixpath.normpath(name)!r}",
            field=field,
        )


def check_alias(alias: str) -> None:
    """Check the form of an alias.

    Raises:
        BadRequest: it is empty or too long, or has other characters than letters, digits, ``_`` and ``-``.
    """
    if not alias:
        raise BadRequest("Registered model alias name cannot be empty.", field="alias")
    if not _ALIAS.fullmatch(alias):
        raise BadRequest(
            f"Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-).",
            field="alias",
        )
    if len(alias) > ALIAS:
        raise BadRequest(
            f"'Registered model alias name' exceeds the maximum length of {ALIAS} characters", field="alias"
        )


def check_settable(alias: str) -> None:
    """Check that an alias is one that can be set: ``latest`` and the like of ``v3`` say themselves where they point.

    Raises:
        BadRequest: it cannot.
    """
    check_alias(alias)
    if alias.lower() == LATEST:
        raise BadRequest(f"'{LATEST}' alias name (case insensitive) is reserved.", field="alias")
    if _VERSION.fullmatch(alias):
        raise BadRequest(f"Version alias name '{alias}' is reserved.", field="alias")


def label_of(text: str) -> str:
    """A label as it is kept, however it is capitalised.

    Raises:
        BadRequest: there is none of this name.
    """
    found = next((label for label in LABELS if label.lower() == text.lower()), None)
    if found is None:
        raise BadRequest(
            f"Invalid Model Version stage: {text}. Value must be one of {', '.join(LABELS)}.", field="stage"
        )
    return found
