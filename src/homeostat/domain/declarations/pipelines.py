"""Steps and pipelines: a graph of ordinary functions, for work that is no model's training.

    @hs.step
    def clean(rows: pl.DataFrame) -> pl.DataFrame: ...

    @hs.pipeline
    def nightly(day: str = "2013-01-01") -> pl.DataFrame:
        return report(clean(load(day)))

Called as they stand, both are the functions that they decorate. While a pipeline is built, a step gives a
``Node`` in place of its result, and the nodes are the graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, cast, overload

from homeostat.domain.declarations.base import Declaration
from homeostat.domain.digests import source_digest

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Node:
    """The result that a step will have.

    Args:
        name: The step's name, with a number when the pipeline calls it again.
        step: What is executed.
        arguments: Its arguments by parameter name; nodes in them, however deep in lists, tuples and dicts,
            are results of other steps.
    """

    name: str
    step: Step
    arguments: Mapping[str, Any]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes whose results this one needs, each once."""
        return tuple(dict.fromkeys(nodes_in(self.arguments)))

    def _unknown(self, *_: Any) -> NoReturn:
        raise self.step.error(
            "its result is known only when the pipeline runs",
            "Look into results inside a step; a pipeline only passes them on",
        )

    __bool__ = __iter__ = __len__ = __getitem__ = __contains__ = __float__ = __int__ = _unknown
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __lt__ = __gt__ = _unknown


@dataclass(frozen=True)
class Graph:
    """What a pipeline does: its nodes, each after those it needs, and what it returns, with nodes in it."""

    pipeline: str
    nodes: tuple[Node, ...]
    output: Any


_building: ContextVar[list[Node] | None] = ContextVar("building", default=None)


@dataclass(frozen=True)
class Step(Declaration):
    """One function of a pipeline.

    Args:
        function: An ordinary function.
        cache: Keep the result, and take it in place of calling the function again with the same code and
            arguments. Off for steps that look at the world, or whose results cannot be kept.
    """

    kind: ClassVar[str] = "step"

    function: Function = field(default=cast("Function", None), compare=False)
    cache: bool = True

    def check(self) -> None:
        """Raise a DeclarationError when there is no function, or one whose arguments have no names."""
        _expect_function(self, self.function, "@hs.step")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result; while a pipeline is built, the Node that stands for it."""
        nodes = _building.get()
        if nodes is None:
            return self.function(*args, **kwargs)
        arguments = _bind(self, self.function, args, kwargs)
        again = sum(node.step is self for node in nodes)
        node = Node(f"{self.name}-{again + 1}" if again else self.name, self, arguments)
        nodes.append(node)
        return node

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return {"function": source_digest(self.function), "cache": self.cache}


@dataclass(frozen=True)
class Pipeline(Declaration):
    """A function that calls steps.

    Args:
        function: Calls steps, passes their results on, and returns some of them.
    """

    kind: ClassVar[str] = "pipeline"

    function: Function = field(default=cast("Function", None), compare=False)

    def check(self) -> None:
        """Raise a DeclarationError when there is no function, or one whose arguments have no names."""
        _expect_function(self, self.function, "@hs.pipeline")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result, every step called as it stands: nothing is kept."""
        return self.function(*args, **kwargs)

    def graph(self, **params: Any) -> Graph:
        """The graph for these parameters. No step is executed.

        Raises:
            DeclarationError: a parameter that the function does not take, or a result that it looks into.
        """
        arguments = _bind(self, self.function, (), params)
        nodes: list[Node] = []
        token = _building.set(nodes)
        try:
            output = self.function(**arguments)
        finally:
            _building.reset(token)
        return Graph(self.name, tuple(nodes), output)

    def spec(self) -> dict[str, Any]:
        """What this declares, as JSON can hold it."""
        return {"function": source_digest(self.function)}


@overload
def step(function: Function) -> Step: ...
@overload
def step(*, cache: bool = ...) -> Callable[[Function], Step]: ...
def step(function: Function | None = None, *, cache: bool = True) -> Step | Callable[[Function], Step]:
    """Declare a step of pipelines by its function; ``@hs.step(cache=False)`` executes it each time.

    Results that are kept may be Polars frames, Arrow tables, NumPy arrays, numbers, texts, bytes, times,
    None, and lists, tuples and dicts of these.
    """

    def declare(function: Function) -> Step:
        return Step(getattr(function, "__name__", ""), function=function, cache=cache)

    return declare if function is None else declare(function)


def pipeline(function: Function) -> Pipeline:
    """Declare a pipeline by a function that calls steps; its parameters are those of a run."""
    return Pipeline(getattr(function, "__name__", ""), function=function)


def nodes_in(value: Any) -> Iterator[Node]:
    """The nodes in ``value``, however deep in lists, tuples and dicts."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from nodes_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from nodes_in(item)


def _expect_function(declaration: Declaration, function: Any, word: str) -> None:
    if not inspect.isfunction(function):
        raise declaration.error("is no function", f"Put {word} above a def")
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.POSITIONAL_ONLY in kinds:
        raise declaration.error(
            "has parameters without names", "Give each a name, without * and / in the signature"
        )


def _bind(declaration: Declaration, function: Function, args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments by name, defaults filled in, so that equal calls are equal however they are written."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise declaration.error(f"{error}", f"It takes {signature}") from error
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(name))
    return arguments
