"""TensorBoard log folders: a run is a folder with event files, as in TensorBoard itself.

Scalars become metrics, hyperparameters become parameters, images, histograms, sounds and texts become values; what
else there is, as graphs, stays in the event files, which come along. A run has no id there: it gets one from its
folder's name and its first event.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from homeostat.adapters.sources import messages
from homeostat.adapters.sources.columns import gathered
from homeostat.adapters.sources.framing import tfrecords
from homeostat.adapters.sources.reading import EPOCH, RunsAlone, damaged, file_at, files_named
from homeostat.adapters.sources.tensorboard_values import kind_of, shown_of
from homeostat.adapters.sources.values import Shown, value_files
from homeostat.domain.records import Run, RunState
from homeostat.ports.sources import (
    Columns,
    Item,
    Missing,
    SourceExperiment,
    SourceFile,
    SourceRun,
)

PATTERN: Final = "*tfevents*"
_HPARAMS: Final = "hparams"
_ENDED: Final[dict[int, RunState]] = {2: "failed"}  # the others are a success, or not known
# Of TensorFlow's types of numbers: how they stand in a tensor's bytes, and in which field otherwise.
_DTYPES: Final = {
    1: ("<f4", "float_val"),
    2: ("<f8", "double_val"),
    3: ("<i4", "int_val"),
    4: ("<u1", "int_val"),
    5: ("<i2", "int_val"),
    6: ("<i1", "int_val"),
    9: ("<i8", "int64_val"),
    10: ("<?", "bool_val"),
}


class TensorboardFolder(RunsAlone):
    """Reads TensorBoard's logs in a folder; see the port.

    Args:
        root: A folder in which event files are somewhere, or such a file.
    """

    kind = "TensorBoard folder"

    def __init__(self, root: Path) -> None:
        self._root = (root.parent if root.is_file() else root).resolve()
        self._unread = list[Missing]()
        found = [root] if root.is_file() else files_named(root, PATTERN, self._unread)
        self._folders: dict[Path, list[Path]] = {}
        for path in sorted(path.resolve() for path in found if path.is_file()):
            self._folders.setdefault(path.parent, []).append(path)

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """One, named as the folder is; none where there is no run."""
        name = self._root.name or "TensorBoard"
        if self._folders:
            yield Item(f"experiment {name}", partial(SourceExperiment, key="", name=name))

    def count(self) -> int:
        """How many runs there are."""
        return len(self._folders)

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run."""
        for folder, paths in self._folders.items():
            name = folder.relative_to(self._root).as_posix()
            yield Item(f"run {name}", partial(_run, self._root.name if name == "." else name, paths))


@dataclass
class _Told:
    """What event files say about their run, put together."""

    first: float = 0.0
    last: float = 0.0
    params: dict[str, str] = field(default_factory=dict)
    group: str = ""
    state: RunState = "succeeded"
    plugins: dict[str, str] = field(
        default_factory=dict
    )  # of tags; TensorFlow tells them with the first value
    others: Counter[str] = field(default_factory=Counter)


def _run(name: str, paths: list[Path]) -> SourceRun:
    missing: list[Missing] = []
    told = _told(paths, missing)
    if not told.first:
        raise damaged(paths[0], missing[0].reason if missing else "it holds no event")
    identity = f"{name.rpartition('/')[2]}\n{paths[0].name}\n{told.first!r}"
    id = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    for what, count in sorted(told.others.items()):
        missing.append(Missing(f"run {name}", f"its {what}, {count:,} of them, stay in its event files"))
    started = EPOCH + timedelta(seconds=told.first)
    return SourceRun(
        run=Run(
            id=id,
            kind="run",
            name=name,
            state=told.state,
            actor="",
            created_at=started,
            started_at=started,
            ended_at=EPOCH + timedelta(seconds=max(told.first, told.last)),
        ),
        experiment="",
        params=told.params,
        tags={"homeostat.group": told.group} if told.group else {},
        points=partial(_points, paths, told),
        files=partial(_files, paths, told),
        missing=missing,
    )


def _told(paths: list[Path], missing: list[Missing]) -> _Told:
    told = _Told()
    for path, event in _events(paths, missing):
        if not told.first:
            told.first = event.wall_time
        told.last = max(told.last, event.wall_time)
        if event.HasField("graph_def"):
            told.others["graphs"] += 1
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            if plugin and value.tag not in told.plugins:
                told.plugins[value.tag] = plugin
            if plugin == _HPARAMS:
                _hparams(path, value.metadata.plugin_data.content, told)
            elif _number(value, told.plugins) is None and not shown_of(
                value, told.plugins.get(value.tag, "")
            ):
                told.others[kind_of(value, told.plugins.get(value.tag, ""))] += 1
    return told


def _events(paths: list[Path], missing: list[Missing]) -> Iterator[tuple[Path, Any]]:
    kind = messages.tensorboard("Event")
    for path in paths:
        for data in tfrecords(path, missing):
            event = messages.parsed(kind, data)
            if event is None:
                raise damaged(path, "a record of it is no event")
            yield path, event


def _hparams(path: Path, content: bytes, told: _Told) -> None:
    found = messages.parsed(messages.tensorboard("Hparams"), content)
    if found is None:
        raise damaged(path, "its hyperparameters are no message")
    if found.HasField("started"):
        told.group = found.started.group_name
        for entry in found.started.hparams:
            for _, value in entry.value.ListFields():
                # Numbers are all floats there.
                whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
                told.params[entry.key] = str(int(value) if whole else value)
    if found.HasField("ended"):
        told.state = _ENDED.get(found.ended.status, told.state)


def _points(paths: list[Path], told: _Told) -> Iterator[Columns]:
    return gathered(_each_point(paths, told))


def _each_point(paths: list[Path], told: _Told) -> Iterator[tuple[str, float, int, int]]:
    for _, event in _events(paths, []):
        at = int(event.wall_time * 1000)
        for value in event.summary.value:
            number = _number(value, told.plugins)
            if number is not None:
                yield value.tag, number, at, event.step


def _number(value: Any, plugins: dict[str, str]) -> float | None:
    """The value of a scalar, as a number or as a tensor of one; None of anything else."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor") or plugins.get(value.tag, "scalars") != "scalars":
        return None
    dtype, name = _DTYPES.get(value.tensor.dtype, ("", ""))
    if not dtype:
        return None
    content = value.tensor.tensor_content
    if content:
        size = np.dtype(dtype).itemsize
        return float(np.frombuffer(content, dtype)[0]) if len(content) == size else None
    numbers = getattr(value.tensor, name)
    return float(numbers[0]) if len(numbers) == 1 else None


def _files(paths: list[Path], told: _Told) -> Iterator[SourceFile]:
    for path in paths:
        yield file_at(path, f"tensorboard/{path.name}")
    for number, path in enumerate(paths):
        yield from value_files(_values(path, told), part=number)


def _values(path: Path, told: _Told) -> Iterator[tuple[Shown, int, int]]:
    for _, event in _events([path], []):
        for value in event.summary.value:
            plugin = told.plugins.get(value.tag, "")
            if plugin != _HPARAMS and _number(value, told.plugins) is None:
                for shown in shown_of(value, plugin):
                    yield shown, event.step, int(event.wall_time * 1000)
