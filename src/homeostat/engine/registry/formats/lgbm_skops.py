"""LightGBM's estimators as MLflow keeps them: a skops file, of which only the booster's text and the classes are read.

skops would give the text to LightGBM as it is, which follows its indices without looking. Here nothing of the estimator
is made: what answers is the booster in LightGBM's own format, as if it had been kept so.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

import numpy as np

from homeostat.engine.registry.formats import lgbm
from homeostat.engine.registry.formats.base import damaged

ESTIMATORS: Final = frozenset(kind for kind in lgbm.KINDS if kind.startswith("lightgbm.sklearn."))


def restore(data: bytes, file: str) -> lgbm.LgbModel | lgbm.LgbNumber:
    """The model in such a file.

    Raises:
        Unsafe: it is damaged, holds another object, or a booster that points outside itself.
        NotInstalled: LightGBM is missing.
    """
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            schema = json.loads(archive.read("schema.json"))
            if f"{schema['__module__']}.{schema['__class__']}" not in ESTIMATORS:
                raise damaged(file, f"holds a {schema['__class__']}, which is no estimator of LightGBM")
            state = _state(schema)
            text = str(_plain(_state(state["_Booster"])["_handle"]))  # of early stopping, until the best tree
            classes = _values(archive, state["_classes"])
    except (BadZipFile, KeyError, TypeError, ValueError, EOFError, RecursionError) as error:
        raise damaged(file, f"cannot be read: {type(error).__name__}: {error}") from error
    found = lgbm.restore(text.encode(), classes)
    columns = max(found.model.num_model_per_iteration(), 2)
    if isinstance(found, lgbm.LgbModel) and len(classes) != columns:
        raise damaged(file, f"has {len(classes)} classes for {columns} probabilities")
    return found


def _state(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of an object, by name."""
    found: Mapping[str, Any] = node["content"]["content"]
    return found


def _plain(node: Mapping[str, Any]) -> Any:
    return json.loads(node["content"])


def _values(archive: ZipFile, node: Mapping[str, Any]) -> list[Any]:
    """What an array holds, whose items are numbers, or texts one by one; of None, nothing."""
    if node["__class__"] != "ndarray":
        return _plain(node) or []
    if node["type"] == "json":
        return [_plain(item) for item in node["content"]]
    found: list[Any] = np.load(io.BytesIO(archive.read(node["file"])), allow_pickle=False).ravel().tolist()
    return found
