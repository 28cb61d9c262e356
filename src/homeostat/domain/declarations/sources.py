"""The files of a project, as its code finds them: what lies below the folder that it was imported from.

That is what a snapshot keeps, and nothing that is hidden, cached or installed. A file is named by its place below that
folder, so that nothing here depends on where the project lies.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, Final

from homeostat.domain.declarations.texts import Import, Text, text_of

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_SKIPPED: Final = _INSTALLED | {"__pycache__", "node_modules", "venv"}
_STANDARD: Final = Path(os.__file__).parent
_SOURCES: Final = "src"
_HOMEOSTAT: Final = Path(__file__).resolve().parents[2]

Names = dict[str, Any]
"""What a module's names stand for."""


def kept(name: str) -> bool:
    """Whether a file or folder of this name is of the project, and not hidden, cached or installed."""
    return name not in _SKIPPED and not name.startswith(".")


class Sources:
    """The files of the project of one module.

    Args:
        start: The names of that module.
    """

    def __init__(self, start: Names) -> None:
        file = _absolute(start.get("__file__") or "notebook")
        above = (start.get("__package__") or "").split(".") if start.get("__package__") else []
        as_named = [one.name for one in file.parents][: len(above)] == above[::-1]
        root = file.parents[len(above) if as_named else 0]  # that it was imported from
        self._bases = [root, root / _SOURCES]
        self._roots = {"": [root, root.resolve()]}
        if root.name == _SOURCES:
            self._bases.append(root.parent)
            self._roots["../"] = [root.parent, root.resolve().parent]
        if _INSTALLED & set(root.parts) or file.is_relative_to(_STANDARD):
            self._bases, self._roots = [], {}  # a library's function: nothing is of a project
        self._places: dict[str, str | None] = {}
        self._texts: dict[str, Text] = {}

    def without_folder(self, text: str) -> str:
        """A text that may name files of the project, wherever it lies."""
        for root in self._roots.get("", ()):
            text = text.replace(str(root), "") if root.name else text
        return text

    def place(self, file: str | Path) -> str | None:
        """Where a file lies in the project; None of any other file."""
        known = str(file)
        if known not in self._places:
            self._places[known] = next(self._found(_absolute(file)), None)
        return self._places[known]

    def _found(self, path: Path) -> Iterator[str]:
        if path.is_relative_to(_HOMEOSTAT):
            return
        for find in (Path.absolute, Path.resolve):
            one = find(path)
            for before, roots in self._roots.items():
                for root in roots:
                    parts = one.relative_to(root).parts if one.is_relative_to(root) else ("",)
                    if all(part and kept(part) for part in parts):
                        yield before + "/".join(parts)

    def file(self, module: Names) -> str | None:
        """The file of a module, where it is of the project."""
        file = module.get("__file__")
        return file if file and self.place(file) else None

    def holds(self, module: Names) -> bool:
        """Whether a module is of the project: by its file, or as a notebook, which has none."""
        return self.file(module) is not None if module.get("__file__") else module.get("__spec__") is None

    def packs(self, module: Names) -> bool:
        """Whether a module is of the project, or a folder without a file of its own: what is in it may be."""
        return self.file(module) is not None if module.get("__file__") else "__path__" in module

    def search(self, module: str) -> str | None:
        """The file of a module by its name, for modules that are gone from ``sys.modules``."""
        for base in self._bases:
            for place in _module(base, module.split(".")):
                if place.is_file() and self.place(place):
                    return str(place)
        return None

    def text(self, module: Names, code: CodeType | None = None) -> Text:
        """What is written in the file of a module, or in the cell of a notebook that ``code`` stands in."""
        file = module.get("__file__") or (code.co_filename if code else "")
        if file not in self._texts:
            self._texts[file] = text_of(file)
        return self._texts[file]

    def imported(self, nodes: Sequence[Import], module: Names) -> list[str]:
        """The files of the project that imports in a module run, in the order of their places."""
        folder = _absolute(module.get("__file__") or "notebook").parent
        found: dict[str, str] = {}
        for file in (file for node in nodes for file in self._imported(node, folder)):
            if file.is_file() and (place := self.place(file)) is not None and place not in found:
                found[place] = str(file)
        return [found[place] for place in sorted(found)]

    def _imported(self, node: Import, folder: Path) -> Iterator[Path]:
        if isinstance(node, ast.Import):
            level, wanted = 0, [alias.name.split(".") for alias in node.names]
        else:
            start = node.module.split(".") if node.module else []
            level, wanted = node.level, [[*start, alias.name] for alias in node.names]
        bases = [folder, *folder.parents][level - 1 : level] if level else [folder, *self._bases]
        for base in dict.fromkeys(bases):
            for parts in wanted:
                for depth in range(
                    0 if level else 1, len(parts) + 1
                ):  # importing runs the packages above too
                    yield from _module(base, parts[:depth])


def _module(base: Path, parts: list[str]) -> list[Path]:
    place = base.joinpath(*parts)
    return [place / "__init__.py", *([place.with_name(f"{place.name}.py")] if parts else [])]


def _absolute(file: str | Path) -> Path:
    return Path(os.path.abspath(file))  # noqa: PTH100 - a link stays what it is
