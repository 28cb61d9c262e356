"""scikit-learn's estimators, and whatever has their form, as skops keeps them: ``model.skops``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from zipfile import BadZipFile

from homeostat.domain.errors import Unsafe
from homeostat.engine.registry.formats.base import Files, allow, damaged
from homeostat.engine.registry.safety import CHECKED, check_trees, is_known

FILE: Final = "model.skops"


def prepare() -> None:
    """Import skops."""
    import skops.io  # noqa: F401 - for those who come after


def takes(model: Any) -> bool:
    """Anything: what skops cannot hold, it says."""
    return True


def classifier(model: Any) -> Any:
    """Itself."""
    return model


def holds(model: Any) -> bool:
    """Whether skops can keep it, be its types allowed or not."""
    return isinstance(_dumped(model), bytes)


def dump(model: Any, trusted: Sequence[str]) -> Files:
    """One file.

    Raises:
        Unsafe: skops cannot hold it, or it has types that loading would refuse.
    """
    data = _dumped(model)
    if isinstance(data, Exception):
        raise Unsafe(
            f"the fitted {type(model).__name__} cannot be kept in {FILE}: {data}",
            remedy="Return an estimator whose attributes are arrays, numbers, texts and other estimators",
        ) from data
    allowed(data, trusted)
    return {FILE: data}


def _dumped(model: Any) -> bytes | Exception:
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException

    try:
        data: bytes = skops.io.dumps(model)
    except (UnsupportedTypeException, TypeError) as error:
        return error
    return data


def load(files: Mapping[str, bytes], trusted: Sequence[str]) -> Any:
    """The estimator.

    Raises:
        Unsafe: the file is damaged, holds a type that nobody allowed, or a tree that points outside itself.
    """
    return restore(files[FILE], trusted)


def restore(data: bytes, trusted: Sequence[str]) -> Any:
    """The estimator in a skops file; see ``load``."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    # Whatever it raises on a damaged file, of any library that has a type in it, the file is at fault.
    try:
        try:  # most hold no others, and need not be looked through first
            estimator = skops.io.loads(data, trusted=[*trusted, *CHECKED])
        except UntrustedTypesFoundException:
            estimator = skops.io.loads(data, trusted=allowed(data, trusted))
    except Unsafe:
        raise
    except Exception as error:
        raise damaged(FILE, f"cannot be read: {type(error).__name__}: {error}") from error
    check_trees(estimator)
    return estimator


def allowed(data: bytes, trusted: Sequence[str]) -> list[str]:
    """The types in a file that skops does not know and that may stay.

    Raises:
        Unsafe: there are others.
    """
    import skops.io

    try:
        found: list[str] = skops.io.get_untrusted_types(data=data)
    except (BadZipFile, KeyError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise damaged(FILE, f"cannot be read: {type(error).__name__}: {error}") from error
    wrong = [name for name in found if name not in trusted and not is_known(name)]
    if wrong:
        raise Unsafe(
            f"{FILE} holds {', '.join(wrong)}, which nobody allowed",
            remedy=allow(wrong, trusted),
            names=wrong,
        )
    return found
