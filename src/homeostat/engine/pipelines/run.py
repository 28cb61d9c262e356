"""Running a pipeline: steps in order, each looked up by its key first.

A result is in the blobs before the record says so, and the record is written in one transaction: killed at
any moment, the next run takes what was finished and does the rest. A kept result that is gone or torn is a
miss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from homeostat.domain.declarations.pipelines import Node, Pipeline
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import DeclarationError, NotFound
from homeostat.domain.events import Edge, Event
from homeostat.domain.ids import new_id
from homeostat.domain.records import StepExecution
from homeostat.engine.pipelines import codec
from homeostat.engine.pipelines.keys import key_of
from homeostat.ports.blobs import Blobs
from homeostat.ports.clock import Clock
from homeostat.ports.meta import MetaStore

Progress = Callable[[StepExecution, int, int], None]


@dataclass(frozen=True)
class Result:
    """What a run gave: the pipeline's return value, and each step's execution in order."""

    value: Any
    executions: tuple[StepExecution, ...]


@dataclass
class _Done:
    """A finished node: its execution, the digest of its result, and the result where it is not kept."""

    execution: StepExecution
    digest: str
    value: Any = None


def run(
    pipeline: Pipeline,
    params: Mapping[str, Any] | None = None,
    *,
    store: MetaStore,
    blobs: Blobs,
    clock: Clock,
    progress: Progress | None = None,
) -> Result:
    """Execute a pipeline.

    Args:
        pipeline: What to run.
        params: Its arguments.
        store: Keeps the executions and their events.
        blobs: Keeps the results.
        clock: Tells when a step began and how long it took.
        progress: Called when a step begins and when it ends, with its number from 1 and how many there are.

    Raises:
        DeclarationError: parameters that do not fit, or a result or argument that cannot be kept.
        Exception: whatever a step raises, with a note that says which; it is recorded first.
    """
    graph = pipeline.graph(**(params or {}))
    runner = _Runner(graph.pipeline, store, blobs, clock)
    for number, node in enumerate(graph.nodes, start=1):

        def tell(execution: StepExecution, number: int = number) -> None:
            if progress is not None:
                progress(execution, number, len(graph.nodes))

        runner.execute(node, tell)
    executions = tuple(runner.done[node].execution for node in graph.nodes)
    return Result(runner.resolve(graph.output), executions)


class _Runner:
    """One run of one pipeline."""

    def __init__(self, pipeline: str, store: MetaStore, blobs: Blobs, clock: Clock) -> None:
        self.pipeline, self.store, self.blobs, self.clock = pipeline, store, blobs, clock
        self.done: dict[Node, _Done] = {}

    def execute(self, node: Node, tell: Callable[[StepExecution], None]) -> None:
        """Take the kept result of ``node``, or call its function."""
        key = self._key(node) if node.step.cache else ""
        began = StepExecution(
            id=new_id(self.clock.wall()),
            pipeline=self.pipeline,
            step=node.name,
            key=key,
            state="running",
            began_at=self.clock.now(),
        )
        kept = self._kept(key) if key else None
        if kept is not None:
            ended = msgspec.structs.replace(began, state="cached", output=kept, seconds=0.0)
            self._record(node, ended)
            self.done[node] = _Done(ended, kept)
            tell(ended)
            return
        self._begin(began)
        tell(began)
        start = self.clock.monotonic()
        try:
            value = node.step.function(**self.resolve(node.arguments))
            output = self._keep(node, value) if node.step.cache else ""
        except BaseException as error:
            error.add_note(f"in step {node.name!r} of pipeline {self.pipeline!r}")
            failed = self._ended(began, "failed", start, error=f"{type(error).__name__}: {error}")
            self._record(node, failed)
            tell(failed)
            raise
        ended = self._ended(began, "succeeded", start, output=output)
        self._record(node, ended)
        self.done[node] = _Done(ended, output, None if output else value)
        tell(ended)

    def resolve(self, value: Any) -> Any:
        """``value`` with results in place of nodes."""
        if isinstance(value, Node):
            done = self.done[value]
            # Each reader has a copy of its own: what one step does to its argument, the next must not see.
            return codec.decode(self.blobs.get(done.digest)) if done.digest else done.value
        if isinstance(value, Mapping):
            return {key: self.resolve(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.resolve(item) for item in value)
        return value

    def _key(self, node: Node) -> str:
        arguments: dict[str, str] = {}
        for name, value in node.arguments.items():
            try:
                # The digest of a result is known without reading it.
                known = self.done[value].digest if isinstance(value, Node) else ""
                arguments[name] = known or digest_bytes(codec.encode(self.resolve(value)))
            except codec.NotKept as error:
                raise self._unkept(node, f"argument {name!r} cannot be part of its key: {error}") from error
        try:
            return key_of(node.step, arguments)
        except codec.NotKept as error:
            raise self._unkept(node, f"cannot be told from others like it: {error}") from error

    def _keep(self, node: Node, value: Any) -> str:
        try:
            return self.blobs.put(codec.encode(value))
        except codec.NotKept as error:
            raise self._unkept(node, f"its result cannot be kept: {error}") from error

    def _unkept(self, node: Node, message: str) -> DeclarationError:
        remedy = "Use frames, arrays and plain values, or declare it with @hs.step(cache=False)"
        return node.step.error(message, remedy)

    def _kept(self, key: str) -> str | None:
        """The digest of an earlier result with this key that is still whole."""
        found = self.store.find(StepExecution, ("key", "=", key), ("state", "=", "succeeded"), order=["-id"])
        for execution in found:
            try:
                self.blobs.get(execution.output)
            except NotFound:
                continue
            return execution.output
        return None

    def _begin(self, began: StepExecution) -> None:
        """Record that it runs. What seems to run under the same key was killed, or will yet say its end.

        What is not kept has no key: many runs may execute it at once, and none takes another over.
        """
        with self.store.begin() as work:
            lost = work.find(
                StepExecution,
                ("pipeline", "=", self.pipeline),
                ("step", "=", began.step),
                ("key", "=", began.key),
                ("state", "=", "running"),
            )
            for one in lost if began.key else ():
                error = "interrupted; another run took it over"
                work.put(msgspec.structs.replace(one, state="failed", error=error))
                work.append(self._event(one.step, "failed", f"step/{one.id}"))
            work.insert(began)

    def _ended(self, began: StepExecution, state: Any, start: float, **fields: str) -> StepExecution:
        seconds = self.clock.monotonic() - start
        return msgspec.structs.replace(began, state=state, seconds=seconds, **fields)

    def _record(self, node: Node, execution: StepExecution) -> None:
        """The end of an execution with its event, whose edges say where its arguments came from."""
        ref = f"step/{execution.id}"
        edges = [Edge(f"pipeline/{self.pipeline}", ref, "executed")]
        edges += [Edge(f"step/{self.done[one].execution.id}", ref, "input") for one in node.inputs]
        event = self._event(execution.step, execution.state, ref, execution.output, edges)
        with self.store.begin() as work:
            work.put(execution)
            work.append(event)

    def _event(self, step: str, state: str, ref: str, output: str = "", edges: Sequence[Edge] = ()) -> Event:
        body = {"pipeline": self.pipeline, "step": step, "output": output}
        return Event(kind=f"step.{state}", subject=ref, at=self.clock.now(), body=body, edges=tuple(edges))
