"""A run, as the program that runs knows it.

``log`` is made for inner loops: it checks, appends to a deque and returns, in about a microsecond. Everything else may
take a moment, and nothing waits for a server.
"""

from __future__ import annotations

import operator
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from homeostat.adapters.clock import SystemClock
from homeostat.domain.errors import BadRequest, Conflict
from homeostat.engine.tracking import entries, limits
from homeostat.engine.tracking.axes import tags_of as axes_tags
from homeostat.sdk.tracking import active
from homeostat.sdk.tracking.beside import Beside
from homeostat.sdk.tracking.energy import Tariff
from homeostat.sdk.tracking.files import File, kept
from homeostat.sdk.tracking.remote import Remote
from homeostat.sdk.tracking.session import Session

_LARGEST_STEP: Final = 2**63 - 1
_WITHIN: Final = 10.0  # seconds without progress after which the end of a run is not waited for any longer
NAME_TAG: Final = "mlflow.runName"
_NOTE: Final = "mlflow.note.content"


class Run:
    """A tracked run, made by ``hs.run``. As a context manager it ends with the block, failed if the block raises.

    Args:
        spool: The folder of all streams.
        server: Tells the server's URL, which may change while the run goes on.
        began: What the run is.
        id: Its id, 32 hexadecimal digits.
        capture: Note what surrounds the run without being asked.
        sample: Seconds between two samples of the machine; 0: none.
        around: The run that was active where this one began, and will be again.
        within: The run whose child it is, where that is another.
        inner: The run is inside another one, which is looked after already.
        tariff: Where the machine stands and what energy costs there.
        step: The step of what is logged first without one.
    """

    def __init__(
        self,
        spool: Path,
        server: Callable[[], str],
        began: entries.Began,
        id: str,
        *,
        capture: bool,
        sample: float,
        around: Run | None = None,
        within: Run | None = None,
        inner: bool,
        tariff: Tariff,
        step: int = 0,
    ) -> None:
        self.id = id
        self.experiment = began.experiment
        self.name = began.name
        self.around = around
        self.within = within or around
        self.entered = False
        self.state: entries.Outcome | None = None  # None: it goes on
        self._spool, self._server, self._began, self._inner = spool, server, began, inner
        self._now = SystemClock().milliseconds
        self._keys: set[str] = set()
        self._params: dict[str, str] = {}
        self._step = step
        self._values = 0
        self._put: Callable[[Any], None] = self._rejoin
        beside = (
            Beside(self._captured, self._sampled, sample=sample, inner=inner, tariff=tariff)
            if capture
            else None
        )
        self._open(began, beside)

    def log(
        self, values: Mapping[str, Any] | None = None, /, *, step: int | None = None, **named: Any
    ) -> None:
        """Log values at a step, as in ``run.log(loss=0.3, step=i)``. It waits for nothing.

        Args:
            values: Values by name, for names that are no Python names, as in ``{"val/loss": 0.3}``; nested mappings
                become names with slashes.
            step: A whole number; by default the one after the last.
            named: More values by name: numbers are points of a metric, anything else is kept as a file.

        Raises:
            BadRequest: a name or a value that cannot be.
            Conflict: the run has ended.
        """
        self.record({**values, **named} if values is not None else named, step)

    def record(self, values: dict[str, Any], step: int | None) -> None:
        """As ``log``, of a dictionary that is nobody else's."""
        for value in values.values():
            kind = type(value)
            if kind is not float and kind is not int:
                values = self._numbers(values, self._step if step is None else step)
                break
        if not values.keys() <= self._keys:
            self._learn(values)
        if step is None:
            step = self._step
        elif type(step) is not int or not -_LARGEST_STEP <= step < _LARGEST_STEP:
            step = _whole(step)
        self._step = step + 1
        if values:
            self._put((values, step, self._now()))
            if self._recorder.idle:
                self._recorder.wake()

    def log_params(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Log parameters, which do not change any more; nested mappings become names with dots.

        Raises:
            BadRequest: a name or a text that cannot be, or a parameter that has another value already.
        """
        given = {name: str(value) for name, value in _flat({**(values or {}), **named}, ".").items()}
        limits.check_params(given)
        for name, value in given.items():
            if self._params.get(name, value) != value:
                raise BadRequest(
                    f"parameter {name!r} is {self._params[name]!r} already, and parameters do not change",
                    field=name,
                    remedy="Log it under another name",
                )
        self._params |= given
        if given:
            self._add(entries.Params(values=given))

    def tag(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Set tags, or remove those whose value is None.

        Raises:
            BadRequest: a name or a text that cannot be.
        """
        given = {
            name: None if value is None else str(value) for name, value in {**(values or {}), **named}.items()
        }
        limits.check_tags({name: value or "" for name, value in given.items()})
        if given.get(NAME_TAG):
            self.name = str(given[NAME_TAG])
        if given:
            self._add(entries.Tags(values=given))

    def note(self, text: str) -> None:
        """Describe the run, in Markdown; replaces what was there."""
        self.tag({_NOTE: text})

    def axes(self, axes: str | Mapping[str, str]) -> None:
        """Declare against what metrics are drawn, in place of their step.

        Args:
            axes: The axis of all metrics, as ``"epoch"``, or axes by metric, as ``{"val": "epoch"}`` for ``val`` and
                those below it, as ``val/loss``. An axis is a metric that is logged at the same steps, ``time`` or
                ``step``.

        Raises:
            BadRequest: a name that cannot be.
        """
        self.tag(axes_tags(axes))

    def log_artifact(self, path: str | os.PathLike[str], to: str = "") -> None:
        """Keep a file, or a folder with all that is in it, as it is now.

        Args:
            path: The file or folder.
            to: The folder among the run's artifacts where it goes; the topmost by default.

        Raises:
            BadRequest: there is no such file.
        """
        source = Path(path)
        if not source.exists():
            raise BadRequest(f"there is no file {source}", field="path")
        files = sorted(f for f in source.rglob("*") if f.is_file()) if source.is_dir() else [source]
        for file in files:
            below = file.relative_to(source.parent if source.is_file() else source).as_posix()
            self.keep(f"{to.strip('/')}/{below}" if to else below, file)

    def log_input(
        self, data: Any, *, name: str = "", context: str = "training", tags: Mapping[str, Any] | None = None
    ) -> None:
        """Note what the run reads, by its digest.

        Args:
            data: A reference such as ``dataset/flights@12``; the path of a file or folder; a frame of Polars, pandas
                or Arrow; an array.
            name: What to call it; by default what it is called.
            context: What it is read for.
            tags: Marks on it.

        Raises:
            BadRequest: it is none of these.
        """
        from homeostat.sdk.tracking.inputs import input_of

        texts = {key: str(value) for key, value in (tags or {}).items()}
        self._add(input_of(data, name=name, context=context, tags=texts))

    def log_text(self, text: str, path: str) -> None:
        """Keep a text as a file among the run's artifacts."""
        self.keep(path, text.encode())

    def keep(self, path: str, content: File) -> None:
        """Keep bytes, or a copy of a file, among the run's artifacts at ``path``."""
        self._add(kept(self._session.stream, path, content))

    def flush(self, within: float = 10.0) -> bool:
        """Wait until all that was logged is in the spool; False when that takes longer."""
        return self._recorder.flush(within)

    def deliver(self, within: float) -> None:
        """Wait until the server has what was logged so far, if one takes it in time."""
        if self._put != self._rejoin:  # else it has no stream in this process yet
            self._session.deliver(within)

    def finish(self, state: entries.Outcome = "succeeded", *, error: str = "") -> None:
        """End the run, and wait for the server to have it as long as that goes on; a run that ended stays as it is.

        Args:
            state: How it ended.
            error: Why it failed.
        """
        if self.state is not None:
            return
        self.state = state
        active.left(self)
        self._put = self._refuse
        ended = entries.Ended(state=state, at=self._now(), error=error[:2000])
        last = None if self._began.join else ended
        if not self._session.finish(last, _WITHIN) and not self._inner:
            self._session.tell_kept()

    def __enter__(self) -> Self:
        self.entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or (isinstance(error, SystemExit) and not error.code):
            self.finish()
        elif issubclass(kind, KeyboardInterrupt):
            self.finish("cancelled", error="interrupted from the keyboard")
        else:
            self.finish("failed", error=f"{kind.__name__}: {error}")

    def __repr__(self) -> str:
        return f"<run/{self.id} {self.name!r} of {self.experiment!r}: {self.state or 'running'}>"

    def forked(self) -> None:
        """In a forked child: what it logs goes to a stream of its own, which begins with the first."""
        self._session.forget()
        self._put = self._rejoin

    def _open(self, began: entries.Began, beside: Beside | None = None) -> None:
        server = self._server
        self._session = Session(self._spool, self.id, lambda: Remote(server), beside)
        self._recorder = self._session.recorder
        self._put = self._recorder.put
        self._session.start(began)

    def _captured(self, tags: Mapping[str, str]) -> None:
        self._recorder.put(entries.Tags(values=dict(tags)))

    def _sampled(self, values: dict[str, float], step: int) -> None:
        self._recorder.put((values, step, self._now()))

    def _rejoin(self, item: Any) -> None:
        self._began = entries.Began(experiment=self.experiment, at=self._now(), join=True)
        self._open(self._began)
        self._put(item)

    def _refuse(self, item: Any) -> None:
        raise Conflict(f"run/{self.id} has ended", remedy=f"Go on with it by hs.run(id={self.id!r})")

    def _add(self, entry: entries.Entry) -> None:
        self._put(entry)
        if self._recorder.idle:
            self._recorder.wake()

    def _learn(self, values: Mapping[str, Any]) -> None:
        for name in values:
            limits.check_name(name, "name")
        self._keys |= values.keys()

    def _numbers(self, values: Mapping[str, Any], step: int) -> dict[str, float]:
        """The numbers among values; the rest is kept as files."""
        numbers: dict[str, float] = {}
        for name, value in _flat(values, "/").items():
            number = _number(value)
            if number is not None:
                numbers[name] = number
                continue
            limits.check_name(name, "name")
            for part in value if isinstance(value, (list, tuple)) else (value,):
                self._show(name, part, step)
        return numbers

    def _show(self, name: str, value: Any, step: int) -> None:
        from homeostat.sdk.tracking.values import value_of

        found = value_of(value)
        if found is None:
            raise BadRequest(
                f"{name} is a {type(value).__name__}, which is neither a number nor of a type that can be shown",
                field=name,
                remedy="Wrap it, as in hs.Image(array), hs.Histogram(array) or hs.Table(rows)",
            )
        told, at = found.told(), self._now()
        self._values += 1
        stem = f"values/{name}/{step:012d}-{at}-{self._values:04d}"
        shown: dict[str, Any] = {"type": told.type, "key": name, "step": step, "at": at}
        if told.suffix:
            shown["file"] = f"{stem}{told.suffix}"
            self.keep(shown["file"], told.content)
        self.keep(f"{stem}.json", msgspec.json.encode(shown | told.detail))


def new_run_id() -> str:
    """A run's id as MLflow's clients know them."""
    return uuid.uuid4().hex


def _whole(step: Any) -> int:
    try:
        number = operator.index(step)
    except TypeError:
        raise BadRequest(
            f"step is {step!r}, no whole number",
            field="step",
            remedy="Log it as a value beside the others, and declare it: hs.run(…, axes='epoch')",
        ) from None
    if not -_LARGEST_STEP <= number < _LARGEST_STEP:
        raise BadRequest(f"step {number} does not fit into 64 bits", field="step")
    return number


def _number(value: Any) -> float | None:
    """A number of any library as a float; None when it is something else."""
    try:
        if hasattr(value, "dtype") and hasattr(value, "item"):
            value = value.item()  # of an array or a tensor with one element
        return None if isinstance(value, str) or hasattr(value, "told") else float(value)
    except (
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ):  # RuntimeError is PyTorch's, for many elements
        return None


def _flat(values: Mapping[str, Any], by: str) -> dict[str, Any]:
    """Nested mappings as one, the names joined."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out |= {f"{name}{by}{inner}": found for inner, found in _flat(value, by).items()}
        else:
            out[str(name)] = value
    return out
