"""W&B run folders (``offline-run-…``, ``run-…``): a log of messages, and the files that were saved.

The log has no published reader (the package's own moved into a compiled program), so the part of it that holds what
was logged is read here. The log itself comes along as a file: what is not read of it is not lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from homeostat.adapters.sources import messages
from homeostat.adapters.sources.columns import gathered
from homeostat.adapters.sources.framing import wandb_records
from homeostat.adapters.sources.reading import (
    EPOCH,
    RunsAlone,
    damaged,
    file_at,
    files_named,
    files_of,
    json_texts,
)
from homeostat.adapters.sources.values import Shown, value_files
from homeostat.adapters.sources.wandb_values import media_of, shown_of
from homeostat.domain.errors import BadRequest
from homeostat.domain.records import Run, RunState
from homeostat.ports.sources import (
    Columns,
    Item,
    Missing,
    SourceExperiment,
    SourceFile,
    SourceRun,
)

_STANDARD: Final = "uncategorized"
_OWN: Final = "_wandb"
_TIMES: Final = {"_timestamp": "time", "_runtime": "time"}
_FLOATS: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class WandbFolder(RunsAlone):
    """Reads the runs of W&B in a folder, or one of them; see the port. Its models are on a server.

    Args:
        root: A folder in which ``run-*.wandb`` files are somewhere, or such a file.
        links: Whether to follow links out of a run's folder: W&B makes one to each file that a user saved.
    """

    kind = "W&B folder"

    def __init__(self, root: Path, *, links: bool = False) -> None:
        self._links = links
        self._unread = list[Missing]()
        found = [root] if root.is_file() else files_named(root, "run-*.wandb", self._unread)
        # Folders are named by when they began: a run that was resumed comes in order.
        self._logs = sorted(found, key=lambda path: (path.parent.name.partition("run-")[2], path))

    def experiments(self) -> Iterator[Item[SourceExperiment]]:
        """Each project, once."""
        for name in sorted({name for path in self._logs if (name := _project(path))}):
            yield Item(f"project {name}", partial(SourceExperiment, key=name, name=name))

    def count(self) -> int:
        """How many runs there are; one that was resumed counts again."""
        return len(self._logs)

    def runs(self) -> Iterator[Item[SourceRun]]:
        """Every run, the oldest first."""
        sessions: dict[tuple[str, str], tuple[Path, ...]] = {}
        for path in self._logs:
            run = path.stem, _project(path)
            earlier = sessions.get(run, ())
            sessions[run] = (*earlier, path.parent)
            yield Item(f"run {path.stem.removeprefix('run-')}", partial(_run, path, self._links, earlier))


@dataclass
class _Told:
    """What a log says about its run, put together."""

    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    logged: set[str] = field(default_factory=set)
    program: str = ""
    python: str = ""
    user: str = ""
    git: Any = None
    exit: int | None = None
    last: float = 0.0
    step: int = 0
    axes: dict[str, str] = field(default_factory=dict)
    media: int = 0
    lists: int = 0


def _records(path: Path, missing: list[Missing]) -> Iterator[Any]:
    record = messages.wandb("Record")
    for data in wandb_records(path, missing):
        found = messages.parsed(record, data)
        if found is None:
            raise damaged(path, "a record of it is no message")
        yield found


def _project(path: Path) -> str:
    """The project that the first messages of a log name, so that none is read to its end for it; empty: none."""
    try:
        for record in _records(path, []):
            if record.HasField("run"):
                return record.run.project or _STANDARD
    except BadRequest:  # told when the run is read
        return ""
    return ""


def _run(path: Path, links: bool, earlier: tuple[Path, ...]) -> SourceRun:
    missing: list[Missing] = []
    told = _told(path, missing)
    if told.run is None:
        raise damaged(path, "W&B has written nothing of its run into it, or not yet")
    id, project = told.run.run_id, told.run.project or _STANDARD
    if told.media:
        what = f"media among its metrics that nothing here shows, {told.media:,} of them, stay in"
        missing.append(Missing(f"run {id}", f"{what} {_below(path, earlier)}/{path.name} and in its files"))
    if told.lists:
        what = f"lists among its metrics, {told.lists:,} of them, stay in"
        missing.append(Missing(f"run {id}", f"{what} {_below(path, earlier)}/{path.name}"))
    started = _moment(told.run.start_time)
    ended = EPOCH + timedelta(seconds=told.last) if told.last else started
    state: RunState = "succeeded" if told.exit == 0 else "failed"
    mark = {"wandb.run": id, "wandb.project": project, "wandb.entity": told.run.entity}
    return SourceRun(
        run=Run(
            id=id,
            kind="run",
            name=told.run.display_name or id,
            state=state,
            actor=told.user,
            created_at=started,
            started_at=started,
            ended_at=ended,
            error="" if told.exit is not None else "W&B saw no end of it",
        ),
        experiment=project,
        params=dict(json_texts({key: value for key, value in told.config.items() if key != _OWN})),
        tags={key: value for key, value in (mark | told.axes | _tags(told)).items() if value},
        points=partial(_points, path, told),
        files=partial(_files, path, missing, links, earlier),
        mark={key: value for key, value in mark.items() if value},
        spare=hashlib.sha256(f"{told.run.entity}\n{project}\n{id}".encode()).hexdigest()[:32],
        missing=missing,
    )


def _told(path: Path, missing: list[Missing]) -> _Told:
    told = _Told()
    for record in _records(path, missing):
        if record.HasField("history"):
            row = _row(record.history.item)
            told.last = max(told.last, float(row.get("_timestamp") or 0))
            told.step = _step(record.history, row)
            told.logged.update(name for name, _ in _leaves(row))
            told.media += sum(not shown_of(key, value, path.parent / "files") for key, value in media_of(row))
            told.lists += _lists(row)
        elif record.HasField("stats"):
            told.last = max(told.last, _seconds(record.stats.timestamp))
        elif record.HasField("summary"):
            _change(told.summary, record.summary)
        elif record.HasField("config"):
            _change(told.config, record.config)
        elif record.HasField("run"):
            told.run = record.run
            _change(told.config, record.run.config)
            _change(told.summary, record.run.summary)
            told.git = record.run.git if record.run.HasField("git") else told.git
        elif record.HasField("environment"):
            about = record.environment
            told.program = about.program or told.program
            told.python = about.python or told.python
            told.user = about.username or told.user
            told.git = about.git if about.HasField("git") else told.git
        elif record.HasField("metric"):
            _axis(record.metric, told.axes)
        elif record.HasField("exit"):
            told.exit = record.exit.exit_code
    return told


def _tags(told: _Told) -> dict[str, str]:
    run = told.run
    kept = {name: value for name, value in _leaves(told.summary) if name not in told.logged}
    return {
        "mlflow.note.content": run.notes,
        "mlflow.source.name": told.program,
        "mlflow.source.git.commit": told.git.commit if told.git else "",
        "mlflow.source.git.repoURL": told.git.remote_url if told.git else "",
        "mlflow.user": told.user,
        "homeostat.group": run.run_group,
        "wandb.job_type": run.job_type,
        "wandb.sweep": run.sweep_id,
        "wandb.tags": ",".join(run.tags),
        "wandb.host": run.host,
        "wandb.python": told.python,
    } | {f"wandb.summary.{name}": str(value) for name, value in kept.items() if isinstance(value, str)}


def _points(path: Path, told: _Told) -> Iterator[Columns]:
    return gathered(_each_point(path, told))


def _each_point(path: Path, told: _Told) -> Iterator[tuple[str, float, int, int]]:
    """What was logged, what the machine did, and what stands in the summary alone."""
    start = _seconds(told.run.start_time)
    measured = 0
    for record in _records(path, []):
        if record.HasField("history"):
            row = _row(record.history.item)
            at = int(float(row.get("_timestamp") or start) * 1000)
            step = _step(record.history, row)
            for name, value in _leaves(row):
                if not name.startswith("_") and not isinstance(value, str):
                    yield name, float(value), at, step
        elif record.HasField("stats"):
            at = int(_seconds(record.stats.timestamp) * 1000)
            for name, value in _leaves(_row(record.stats.item)):
                if not isinstance(value, str):
                    yield f"system/{name}", float(value), at, measured
            measured += 1
    for name, value in _leaves(told.summary):
        if not name.startswith("_") and not isinstance(value, str) and name not in told.logged:
            yield name, float(value), int((told.last or start) * 1000), told.step


def _files(
    path: Path, missing: list[Missing], links: bool, earlier: tuple[Path, ...]
) -> Iterator[SourceFile]:
    """The files of a run, or of a later session of it: what W&B names alike in each has its own folder there."""
    below = _below(path, earlier)
    for file in files_of(path.parent / "files", missing, links=links):
        # The name of a medium says what it holds.
        again = earlier and not file.path.startswith("media/")
        if again and any((folder / "files" / file.path).exists() for folder in earlier):
            yield replace(file, path=f"{below}/{file.path}")
        else:
            yield file
    yield from files_of(path.parent / "logs", missing, below=f"{below}/logs", links=links)
    yield file_at(path, f"{below}/{path.name}")
    yield from value_files(_values(path))


def _below(path: Path, earlier: tuple[Path, ...]) -> str:
    """Where what W&B wrote beside the user's files goes."""
    return f"wandb/{path.parent.name}" if earlier else "wandb"


def _values(path: Path) -> Iterator[tuple[Shown, int, int]]:
    """Texts and media among what was logged."""
    for record in _records(path, []):
        if record.HasField("history"):
            row = _row(record.history.item)
            step, at = _step(record.history, row), int(float(row.get("_timestamp") or 0) * 1000)
            for name, text in _leaves(row):
                if isinstance(text, str) and not name.startswith("_"):
                    yield Shown("text", name, {"text": text, "markdown": False}), step, at
            for name, value in media_of(row):
                for shown in shown_of(name, value, path.parent / "files"):
                    yield shown, step, at


def _axis(metric: Any, axes: dict[str, str]) -> None:
    """Against what W&B draws a metric, or those whose name begins so."""
    name = metric.name.replace("\\.", ".") or metric.glob_name.removesuffix("*").rstrip("/.")
    if metric.step_metric and metric.step_metric != "_step" and (name or metric.glob_name == "*"):
        axis = _TIMES.get(metric.step_metric, metric.step_metric)
        axes[f"homeostat.axis.{name}" if name else "homeostat.axis"] = axis


def _row(entries: Any) -> dict[str, Any]:
    """Entries as a nested mapping."""
    row: dict[str, Any] = {}
    for entry in entries:
        _set(row, _key(entry), _value(entry))
    return row


def _key(entry: Any) -> list[str]:
    return list(entry.nested_key) or [entry.key]


def _value(entry: Any) -> Any:
    """A value: as JSON, in which the numbers that JSON lacks stand bare or as texts, or by its type."""
    for name in ("number", "integer", "boolean", "text"):
        if entry.HasField(name):
            return getattr(entry, name)
    text = entry.json if entry.HasField("json") else entry.value_json
    if text in _FLOATS:
        return _FLOATS[text]
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return _FLOATS.get(value, value) if isinstance(value, str) else value


def _set(row: dict[str, Any], key: list[str], value: Any) -> None:
    for name in key[:-1]:
        inner = row.get(name)
        row = inner if isinstance(inner, dict) else row.setdefault(name, {}) if inner is None else {}
    row[key[-1]] = value


def _change(values: dict[str, Any], changes: Any) -> None:
    for entry in changes.update:
        _set(values, _key(entry), _value(entry))
    for entry in changes.remove:
        *above, last = _key(entry)
        inner: Any = values
        for name in above:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)


def _leaves(row: dict[str, Any], parent: str = "") -> Iterator[tuple[str, float | str]]:
    """Numbers and texts in a nested mapping, by names with dots; W&B's own settings and media are passed over."""
    for key, value in row.items():
        name = f"{parent}.{key}" if parent else key
        if isinstance(value, dict):
            if "_type" not in value and name != _OWN:
                yield from _leaves(value, name)
        elif isinstance(value, (int, float, str)):
            yield name, value


def _lists(row: dict[str, Any]) -> int:
    """How many lists a nested mapping has."""
    inner = (_lists(value) for value in row.values() if isinstance(value, dict) and "_type" not in value)
    return sum(isinstance(value, list) for value in row.values()) + sum(inner)


def _step(history: Any, row: dict[str, Any]) -> int:
    return int(history.step.num if history.HasField("step") else row.get("_step") or 0)


def _seconds(time: Any) -> float:
    return float(time.seconds + time.nanos / 1e9)


def _moment(time: Any) -> datetime:
    return EPOCH + timedelta(seconds=time.seconds, microseconds=time.nanos // 1000)
