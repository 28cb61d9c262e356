"""The registry in an MLflow folder: a folder a model, in it a folder a version."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from homeostat.adapters.sources.meta_files import META, yaml_of
from homeostat.adapters.sources.mlflow_values import DELETED_VERSION, model_of, version_of
from homeostat.adapters.sources.reading import damaged, folders_of, texts_of
from homeostat.ports.sources import Item, Missing, SourceModel, SourceVersion


def registered_models(root: Path) -> Iterator[Item[SourceModel]]:
    """Every registered model in a registry's folder."""
    for folder in folders_of(root):
        yield Item(f"model {folder.name}", partial(_model, folder))


def _model(folder: Path) -> SourceModel:
    meta = yaml_of(folder / META, "name")
    model = model_of(meta, meta.get("creation_timestamp"), meta.get("last_updated_timestamp"))
    versions, greatest, missing = [], 0, list[Missing]()
    for path in folders_of(folder):
        if not path.name.startswith("version-"):
            continue
        about = yaml_of(path / META, "version", "name")
        version = version_of(about, about.get("creation_timestamp"), about.get("last_updated_timestamp"))
        greatest = max(greatest, version.version)
        if version.label != DELETED_VERSION:
            versions.append(SourceVersion(version=version, tags=texts_of(path / "tags")))
    aliases = {}
    for alias, text in texts_of(folder / "aliases").items():
        if not text.strip().isdigit():
            raise damaged(folder / "aliases" / alias, f"{text[:40]!r} is no version")
        aliases[alias] = int(text)
    return SourceModel(
        model=msgspec.structs.replace(model, versions=greatest),
        tags=texts_of(folder / "tags"),
        versions=sorted(versions, key=lambda found: found.version.version),
        aliases=aliases,
        missing=missing,
    )
