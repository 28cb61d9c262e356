"""Names and texts of other trackers, made such as can be kept here; those that can be stay as they are."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from typing import Final

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking import limits
from homeostat.ports.sources import Missing

_FORBIDDEN: Final = re.compile(r"[^/\w.\- :]")
_UNKEPT: Final = re.compile("[\0\ud800-\udfff]")


class Names:
    """Finds names for keys; the same key always gets the same, and no two keys one.

    Args:
        what: What they name, for the notes, as in ``metric``.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._found: dict[str, str] = {}
        self._taken: set[str] = set()
        self.missing: list[Missing] = []

    def of(self, key: str) -> str:
        """The name for a key."""
        name = self._found.get(key)
        if name is None:
            name = self._found[key] = self._new(key)
            self._taken.add(name)
        return name

    def _new(self, key: str) -> str:
        try:
            limits.check_name(key, "name")
        except BadRequest:
            pass
        else:
            if key not in self._taken:
                return key
        plain = posixpath.normpath(_FORBIDDEN.sub("_", key).strip()).lstrip("./") or "_"
        name = plain[: limits.KEY]
        if name in self._taken or len(plain) > limits.KEY:
            digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:8]
            name = f"{plain[: limits.KEY - 9]}-{digest}"
        self.missing.append(Missing(f"{self._what} {shown(key)}", f"it is called {name} here"))
        return name


def renamed(values: Mapping[str, str], what: str, missing: list[Missing]) -> dict[str, str]:
    """Values by names and with texts such as can be kept."""
    names = Names(what)
    # Names that can stay are given first, so that no other takes one of them.
    ordered = sorted(values, key=lambda key: (names_fit(key) is False, key))
    found = {names.of(key): kept(values[key]) for key in ordered}
    missing += names.missing
    return found


def others(values: Mapping[str, str], there: Mapping[str, str], what: str) -> list[str]:
    """What to tell of values that have another one here, which stays."""
    keys = sorted(values.keys() & there.keys())
    return [f"{what} {shown(key)} has another value here" for key in keys if values[key] != there[key]]


def names_fit(key: str) -> bool:
    """Whether a key can stay as it is."""
    try:
        limits.check_name(key, "name")
    except BadRequest:
        return False
    return True


def kept(text: str) -> str:
    """A text without what no database keeps: NUL and half characters."""
    return _UNKEPT.sub("\ufffd", text)


def shown(text: str) -> str:
    """A text as notes show it: not too long."""
    return text if len(text) <= 80 else f"{text[:79]}…"
