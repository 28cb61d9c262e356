"""What processes write to their runs through a spool: taken frame by frame, each once.

How far a stream was taken is moved in the transaction that stores what its frames say. A frame that cannot be applied
is counted as taken all the same and answered with its reason: nothing behind it waits, and what cannot be is not sent
for ever. Streams of a run may come in any order; how the run stands is what the newest of them says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from homeostat.app.container import Container
from homeostat.app.tracking.experiments import experiment_in
from homeostat.app.tracking.inputs import HERE, inputs_in
from homeostat.app.tracking.points import rows_in
from homeostat.app.tracking.runs import NAME_TAG, rename_in, tell_run
from homeostat.domain.errors import BadRequest, Conflict, HomeostatError
from homeostat.domain.records import Run
from homeostat.domain.refs import parse_ref
from homeostat.domain.tracking import Param, RunInput, RunStream, RunTag
from homeostat.engine.tracking import entries, limits, rows
from homeostat.engine.tracking.arrays import Rows
from homeostat.engine.tracking.frames import Frame, scan
from homeostat.engine.tracking.names import run_name
from homeostat.ports.meta import Transaction

_STANDARD: Final = "Default"


class Refusal(msgspec.Struct, frozen=True):
    """A frame, or a part of one, that could not be applied, and why."""

    seq: int
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """How far a stream was taken."""

    seq: int
    refused: list[Refusal] = []


@dataclass
class _Said:
    """What frames say, put together."""

    began: entries.Began | None = None
    ended: entries.Ended | None = None
    points: list[Rows] = field(default_factory=list)
    params: dict[str, tuple[str, int]] = field(default_factory=dict)
    tags: dict[str, str | None] = field(default_factory=dict)
    inputs: list[RunInput] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def position(container: Container, run_id: str, stream: str) -> int:
    """The number of the last frame of a stream that was taken; 0 before the first."""
    found = container.store.get(RunStream, run_id, stream)
    return found.seq if found else 0


def take(container: Container, run_id: str, stream: str, after: int, data: bytes) -> Taken:
    """Take the frames of a stream that were not taken yet.

    Args:
        container: The ports.
        run_id: The run, which is made when it is not there.
        stream: The stream's name.
        after: The number of the frame before these, as the sender knows it.
        data: Whole frames.

    Raises:
        BadRequest: the data were damaged on their way, or the run's or the stream's name cannot be.
        Conflict: the stream was not taken as far as ``after``.
    """
    for name, value in (("run", run_id), ("stream", stream)):
        if not value.isalnum() or not value.isascii() or len(value) > 64:
            raise BadRequest(
                f"{value!r} cannot name a {name}", field=name, remedy="Use up to 64 letters and digits"
            )
    found = scan(stream, data)
    if found.damage or found.end != len(data):
        raise BadRequest(
            f"the frames of {stream} were damaged on their way", field="frames", remedy="Send them again"
        )
    try:
        return _take(container, run_id, stream, after, found.frames)
    except BadRequest:  # something in it that only the store refuses
        refused: list[Refusal] = []
        for frame in found.frames:
            try:
                taken = _take(container, run_id, stream, after, [frame])
            except BadRequest as error:
                taken = _take(container, run_id, stream, after, [Frame(frame.seq, b"", frame.end)])
                taken = Taken(taken.seq, [Refusal(frame.seq, error.message)])
            refused += taken.refused
            after = taken.seq
        return Taken(after, refused)


def _take(container: Container, run_id: str, stream: str, after: int, frames: Sequence[Frame]) -> Taken:
    """Take frames in one transaction; one without a payload is only counted."""
    with container.store.begin() as tx:
        run = tx.lock(Run, run_id)
        known = tx.get(RunStream, run_id, stream)
        done = known.seq if known else 0
        if done < after:
            raise Conflict(
                f"stream {stream} of run/{run_id} was taken up to {done}, not {after}",
                remedy="Send it from there",
            )
        new = [frame for frame in frames if frame.seq > done]
        if not new:
            return Taken(done)
        said = _said(run_id, [frame for frame in new if frame.payload])
        joined = known.joined if known else bool(said.began and said.began.join)
        newest = joined or not tx.find(
            RunStream, ("run", "=", run_id), ("stream", ">", stream), ("joined", "=", False), limit=1
        )
        if run is None:
            run = _make(container, tx, run_id, said)
        elif said.began is not None:
            run = _go_on(container, tx, run, said.began, newest)
        _keep(container, tx, run, said, newest)
        if said.ended is not None and newest and not joined:
            _end(container, tx, run, said.ended)
        at = container.clock.now()
        tx.put(RunStream(run=run_id, stream=stream, seq=new[-1].seq, joined=joined, at=at))
    return Taken(new[-1].seq, said.refused)


def _said(run_id: str, frames: Sequence[Frame]) -> _Said:
    said = _Said()
    for frame in frames:
        try:
            _read(said, run_id, frame.seq, entries.decode(frame.payload))
        except HomeostatError as error:
            said.refused.append(Refusal(frame.seq, error.message))
    return said


def _read(said: _Said, run_id: str, seq: int, entry: entries.Entry) -> None:
    match entry:
        case entries.Points():
            said.points.append(rows.read(entry.keys, entry.rows))
        case entries.Params():
            limits.check_params(entry.values)
            for key, value in entry.values.items():
                if said.params.setdefault(key, (value, seq))[0] != value:
                    said.refused.append(_changed(seq, key, said.params[key][0], value))
        case entries.Tags():
            limits.check_tags({key: value or "" for key, value in entry.values.items()})
            said.tags |= entry.values
        case entries.Input():
            if entry.source_type == HERE:
                parse_ref(entry.source)
            given = msgspec.structs.asdict(entry)
            said.inputs.append(RunInput(run=run_id, **given))
            try:
                limits.check_inputs(said.inputs[-1:])
            except BadRequest:
                said.inputs.pop()
                raise
        case entries.Began():
            limits.check_experiment_name(entry.experiment)
            limits.check_tags(entry.tags)
            said.began = entry
            said.tags |= entry.tags
        case entries.Ended():
            said.ended = entry
        case entries.File():
            pass  # its bytes came before it


def _changed(seq: int, key: str, old: str, new: str) -> Refusal:
    return Refusal(seq, f"parameter {key!r} is {old!r} already, and parameters do not change: not {new!r}")


def _make(container: Container, tx: Transaction, run_id: str, said: _Said) -> Run:
    began = said.began or entries.Began(experiment=_STANDARD, at=0)
    experiment = experiment_in(container, tx, began.experiment)
    if experiment.deleted_at is not None:
        said.refused.append(
            Refusal(1, f"experiment {experiment.name!r} is deleted; restore it to see the run")
        )
    now = container.clock.now()
    name = began.name or said.tags.get(NAME_TAG) or run_name()
    made = Run(
        id=run_id,
        kind="run",
        experiment=experiment.id,
        name=name,
        state="running",
        actor=began.actor,
        created_at=now,
        started_at=_moment(container, began.at),
    )
    tx.insert(made)
    said.tags[NAME_TAG] = name
    tell_run(container, tx, made, "created")
    return made


def _go_on(container: Container, tx: Transaction, run: Run, began: entries.Began, newest: bool) -> Run:
    """A run that was there before: it runs again, unless this is an older part of it that comes late."""
    if run.kind != "run" or began.join:
        return run
    at = _moment(container, began.at)
    started = min(run.started_at or at, at)
    again = newest and run.state != "running"
    changed = msgspec.structs.replace(run, started_at=started)
    if again:
        changed = msgspec.structs.replace(changed, state="running", ended_at=None, error="")
    if changed != run:
        tx.put(changed)
    if again:
        tell_run(container, tx, changed, "resumed")
    return changed


def _keep(container: Container, tx: Transaction, run: Run, said: _Said, newest: bool) -> None:
    for part in rows.joined(said.points):
        rows_in(tx, run, part)
    if said.params:
        there = {
            param.key: param.value
            for param in tx.find(Param, ("run", "=", run.id), ("key", "in", list(said.params)))
        }
        for key, (value, seq) in said.params.items():
            if there.get(key, value) != value:
                said.refused.append(_changed(seq, key, there[key], value))
        tx.insert(*(Param(run=run.id, key=k, value=v) for k, (v, _) in said.params.items() if k not in there))
    tags = said.tags
    if tags and not newest:  # what was said since is not overwritten
        since = {tag.key for tag in tx.find(RunTag, ("run", "=", run.id), ("key", "in", list(tags)))}
        tags = {key: value for key, value in tags.items() if key not in since}
    removed = [key for key, value in tags.items() if value is None]
    if removed:
        tx.delete(RunTag, ("run", "=", run.id), ("key", "in", removed))
    tx.put(*(RunTag(run=run.id, key=key, value=value) for key, value in tags.items() if value is not None))
    if (name := tags.get(NAME_TAG)) and name != run.name:
        rename_in(container, tx, run, name)
    if said.inputs:
        inputs_in(container, tx, run, said.inputs)


def _end(container: Container, tx: Transaction, run: Run, ended: entries.Ended) -> None:
    current = tx.get(Run, run.id) or run  # with the name that it has been given since
    if current.kind != "run":
        return
    error = ended.error.replace("\0", "")[:2000]
    done = msgspec.structs.replace(
        current, state=ended.state, ended_at=_moment(container, ended.at), error=error
    )
    tx.put(done)
    tell_run(container, tx, done, ended.state, error=error)


def _moment(container: Container, milliseconds: int) -> datetime:
    """When it was; now where that is not said."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else container.clock.now()
