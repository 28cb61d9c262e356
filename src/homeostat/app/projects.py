"""Projects: a Python module of declarations, found, loaded, and kept by content.

A run keeps the project's Python files as one blob; whatever is served later is served with the code it was trained
with. The module of a project is executed under a name of its own, its sibling modules are importable while it is
loaded, and none of them stays behind in ``sys.modules``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, Final

import msgspec

from homeostat.domain.declarations import (
    Dataset,
    Declaration,
    FeatureView,
    Model,
    Pipeline,
    View,
    Windows,
)
from homeostat.domain.declarations.base import PROJECT_MODULE
from homeostat.domain.declarations.sources import kept
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import DeclarationError, HomeostatError, NotFound
from homeostat.ports.blobs import Blobs

DEFAULT_FILE: Final = "project.py"
_MARK: Final = ".project"  # in a snapshot: the name of the file that declares
_LARGEST: Final = 16 << 20  # bytes of one file
_importing = RLock()


@dataclass(frozen=True)
class Declared:
    """What a project file declares, by name."""

    file: Path
    datasets: dict[str, Dataset] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder of the project file."""
        return self.file.parent

    @property
    def name(self) -> str:
        """The project's name: that of its folder."""
        return self.root.name

    def specs(self) -> dict[str, Any]:
        """Every declaration's spec by ``kind/name``: what plan and apply compare."""
        groups: tuple[dict[str, Any], ...] = (self.datasets, self.views, self.models, self.pipelines)
        specs = {str(item.ref): item.spec() for group in groups for item in group.values()}
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(specs))
        return plain


def find_project(path: Path) -> Path:
    """The project file that ``path`` means: itself, or ``project.py`` in it.

    Raises:
        NotFound: there is none.
    """
    file = path / DEFAULT_FILE if path.is_dir() else path
    if not file.is_file():
        raise NotFound(
            f"there is no project file at {file}",
            remedy="Run homeostat init to write one, or name it with --project",
        )
    return file.resolve()


def load_project(path: Path) -> Declared:
    """Execute a project file and gather what it declares.

    Raises:
        NotFound: there is no such file.
        DeclarationError: it does not run, or declares what cannot be; names file and line.
    """
    file = find_project(path)
    module = ModuleType(f"{PROJECT_MODULE}{digest_bytes(str(file).encode())[7:19]}")
    module.__file__ = str(file)
    with importing(file.parent):
        sys.modules[module.__name__] = module
        try:
            exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)
        except DeclarationError as error:
            raise _placed(error, file.parent) from error
        except SyntaxError as error:
            raise DeclarationError(
                f"is not valid Python: {error.msg}",
                remedy="Correct the line",
                file=error.filename or str(file),
                line=error.lineno or 0,
            ) from error
        except Exception as error:
            raise _placed(
                DeclarationError(f"stops with {type(error).__name__}: {error}"), file.parent
            ) from error
        finally:
            sys.modules.pop(module.__name__, None)
    declared = _gather(file, module)
    for view in declared.views.values():
        view.digest  # noqa: B018 - of what it is now: what its function keeps may change when it runs
    return declared


def _placed(error: DeclarationError, root: Path) -> DeclarationError:
    """``error`` with the project's line that led to it."""
    if error.file:
        return error
    cause = error if error.__traceback__ else error.__context__ or sys.exception()
    frames = [
        f for f in traceback.extract_tb(cause.__traceback__ if cause else None) if _within(f.filename, root)
    ]
    last = frames[-1] if frames else None
    return DeclarationError(
        error.message,
        remedy=error.remedy,
        declaration=error.declaration,
        file=last.filename if last else "",
        line=(last.lineno or 0) if last else 0,
    )


def _within(file: str | None, root: Path) -> bool:
    return bool(file) and Path(file or "").resolve().is_relative_to(root.resolve())


def _lies_in(module: ModuleType, root: Path) -> bool:
    """Whether a module is a file below a folder, or a folder below it that holds modules without being one."""
    file = getattr(module, "__file__", None)
    return any(_within(place, root) for place in ([file] if file else getattr(module, "__path__", ())))


@contextmanager
def importing(root: Path) -> Iterator[None]:
    """Make the modules beside a project file importable, for as long as the block runs."""
    with _importing:
        before = dict(sys.modules)
        sys.path.insert(0, str(root))
        try:
            yield
        finally:
            # Looked through before any goes: a folder without a file finds its path by the one above it.
            own = [
                name
                for name, module in list(sys.modules.items())
                if name not in before and _lies_in(module, root)
            ]
            sys.path.remove(str(root))
            for name in own:
                del sys.modules[name]


def import_function(root: Path, reference: str) -> Any:
    """The function ``module:name`` of the project at ``root``.

    Raises:
        NotFound: the project has no such module or function.
    """
    module_name, _, name = reference.partition(":")
    file = root / f"{module_name}.py"
    if not name or not file.is_file():
        raise NotFound(
            f"the project has no function {reference!r}", remedy="Write module:function, as in faults:train"
        )
    with importing(root):
        spec = importlib.util.spec_from_file_location(module_name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise NotFound(f"{file.name} has no function {name!r}", remedy="Name a function that it defines")
    return getattr(module, name)


def _gather(file: Path, module: ModuleType) -> Declared:
    declared = Declared(file)
    for value in module.__dict__.values():
        if isinstance(value, Declaration):
            _add(declared, value)
    if not any((declared.datasets, declared.models, declared.pipelines)):
        raise DeclarationError(
            "declares nothing", remedy="Declare a dataset or a model, as in hs.Dataset(…)", file=str(file)
        )
    return declared


def _add(declared: Declared, item: Declaration) -> None:
    """Register a declaration and everything that it stands on."""
    groups: tuple[tuple[type, dict[str, Any]], ...] = (
        (Dataset, declared.datasets),
        (View, declared.views),
        (Model, declared.models),
        (Pipeline, declared.pipelines),
    )
    for kind, group in groups:
        if isinstance(item, kind):
            known = group.get(item.name)
            if known is item:
                return
            if known is not None and known.spec() != item.spec():
                raise item.error(
                    f"is declared twice, first in line {known.line}", "Give one of them another name"
                )
            group[item.name] = item
    if isinstance(item, FeatureView | Windows):
        _add(declared, item.source)
    if isinstance(item, Model):
        for part in (item.task.source, item.task.request, *item.features):
            _add(declared, part)


def snapshot(blobs: Blobs, root: Path, file: str = DEFAULT_FILE) -> str:
    """Keep the project's Python files as one blob, and which of them declares it; returns its digest.

    Left out is what is hidden, cached or installed.

    Raises:
        DeclarationError: a file is too large, or no text in UTF-8; a training without it would fail.
    """
    files = {str(path.relative_to(root)): _text(path) for path in {root / file, *_sources(root)}}
    return blobs.put(msgspec.json.encode(files | {_MARK: file}, order="sorted"))


def _sources(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = filter(kept, folders)  # what is not kept is not walked either: an environment is large
        yield from (Path(folder, name) for name in files if name.endswith(".py") and kept(name))


def _text(path: Path) -> str:
    line = 1
    try:
        if path.stat().st_size <= _LARGEST:
            return path.read_text("utf-8")
        problem = f"has more than {_LARGEST >> 20} MiB, which is too large for code"
    except UnicodeDecodeError as error:
        problem, line = "is not written in UTF-8", error.object.count(b"\n", 0, error.start) + 1
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    remedy = "Correct it, or move it out of the project's folder"
    raise DeclarationError(problem, remedy=remedy, file=str(path), line=line)


def project_file(folder: Path) -> Path:
    """The file that declares, in the folder of a snapshot."""
    return folder / (folder / _MARK).read_text("utf-8")


def checkout(blobs: Blobs, digest: str, home: Path) -> Path:
    """The folder that holds the files of a snapshot, written on first use."""
    folder = home / "code" / digest.removeprefix("sha256:")
    if folder.is_dir():
        return folder
    files = msgspec.json.decode(blobs.get(digest), type=dict[str, str])
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for name, text in files.items():
            target = (fresh / name).resolve()
            if not target.is_relative_to(fresh.resolve()):
                raise HomeostatError(
                    f"snapshot {digest} holds a path outside of it: {name!r}", remedy="Do not trust it"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        for path in (fresh, *fresh.rglob("*")):  # a folder of its name is trusted, also after a loss of power
            _sync(path)
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster; what it wrote is the same
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # where it has its name, nothing is there any more
    return folder


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
