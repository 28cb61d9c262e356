"""Which format keeps a model: the first that takes its type; which one reads it back: that of its file's name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from homeostat.domain.errors import NotFound, Unsafe
from homeostat.engine.registry.formats import graphs, lgbm, pickles, scikit, tensors, xgb
from homeostat.engine.registry.formats.base import DETAILS, Files, Format

# Native formats first: what they take, the others would hold as a library's private state.
_FORMATS: Final[tuple[Format, ...]] = (xgb, lgbm, graphs, tensors, scikit, pickles)

MODEL_FILES: Final = tuple(one.FILE for one in _FORMATS)

__all__ = ["DETAILS", "MODEL_FILES", "classifier", "dump", "load", "prepare"]


def prepare() -> None:
    """Import what the usual format needs, where the model will likely take it.

    skops lists every public type of scikit-learn, NumPy and SciPy as it is imported, which takes most of a second:
    one that can pass while something else is waited for.
    """
    if "sklearn" in sys.modules:
        scikit.prepare()


def classifier(model: Any) -> Any:
    """What a training function gave, as something with ``predict_proba``.

    Boosters and ONNX graphs are wrapped; whatever is none of these comes back as it is.
    """
    return next((one.classifier(model) for one in _FORMATS if one.takes(model)), model)


def dump(model: Any, trusted: Sequence[str]) -> Files:
    """The files of a model, which ``load`` reads.

    Raises:
        Unsafe: no format keeps it without code in the file, or it holds types that nobody allowed.
        NotInstalled: the library of its format is missing.
    """
    if scikit.takes(model) and pickles.ALLOWED in trusted and not scikit.holds(model):
        return pickles.dump(model, trusted)
    return next(one for one in _FORMATS if one.takes(model)).dump(model, trusted)


def load(files: Mapping[str, bytes], trusted: Sequence[str]) -> Any:
    """The classifier that a package's files hold.

    Raises:
        NotFound: there is no model's file among them.
        Unsafe: there are several, one is damaged, or it holds what nobody allowed.
        NotInstalled: the library of its format is missing.
    """
    found = [one for one in _FORMATS if one.FILE in files]
    if not found:
        raise NotFound(
            f"the package has none of {', '.join(MODEL_FILES)}",
            remedy="It was not written by Homeostat; train again",
        )
    if len(found) > 1:
        raise Unsafe(
            f"the package has several models: {', '.join(one.FILE for one in found)}",
            remedy="It was altered: do not serve it",
        )
    return found[0].load(files, trusted)
