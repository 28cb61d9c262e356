"""The base of declarations: a name, where it stands in the project, and how it complains."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from homeostat.domain.errors import DeclarationError
from homeostat.domain.refs import Ref, is_name

PROJECT_MODULE: Final = "homeostat_project_"
"""How the names begin under which the files of projects are loaded."""


@dataclass(frozen=True)
class Declaration:
    """A named declaration; two are equal when they say the same, wherever they stand."""

    kind: ClassVar[str] = "declaration"

    name: str
    file: str = field(init=False, repr=False, compare=False, default="")
    line: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        file, line = _caller()
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "line", line)
        if not is_name(str(self.name)):
            raise self.error(
                f"{self.name!r} is no name",
                "Use letters and digits, and inside also dot, dash and underscore",
            )
        self.check()

    def check(self) -> None:
        """Raise a DeclarationError when this cannot hold."""

    @property
    def ref(self) -> Ref:
        """The reference to what this declares, without a version."""
        return Ref(self.kind, self.name)

    def error(self, message: str, remedy: str) -> DeclarationError:
        """An error about this declaration, for the caller to raise."""
        what = f"{type(self).__name__}({self.name!r})"
        return DeclarationError(message, remedy=remedy, declaration=what, file=self.file, line=self.line)

    def expect(self, label: str, value: Any, kind: type | tuple[type, ...], like: str) -> None:
        """Raise unless ``value`` is of ``kind``; ``like`` shows how to write it."""
        if not isinstance(value, kind):
            raise self.error(f"{label} is {value!r}", f"Write it like {label}={like}")

    def spec(self) -> dict[str, Any]:
        """What this says as JSON can hold it; equal specs mean nothing to change."""
        raise NotImplementedError


def _caller() -> tuple[str, int]:
    frame = sys._getframe(1)
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if not (
            module.startswith("homeostat.") or module == "homeostat" or frame.f_code.co_filename == "<string>"
        ):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "", 0
