"""The small YAML files in which MLflow keeps what it knows about a thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from homeostat.adapters.sources.reading import damaged, text_of

META: Final = "meta.yaml"


def yaml_of(path: Path, *needed: str) -> dict[str, Any]:
    """A file's fields; those ``needed`` are there.

    Raises:
        BadRequest: it is not there, or is no such file.
    """
    import yaml

    text = text_of(path)
    try:
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
        raise damaged(path, f"it is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise damaged(path, "it holds no fields")
    for name in needed:
        if found.get(name) is None:
            raise damaged(path, f"it has no {name}")
    return found
