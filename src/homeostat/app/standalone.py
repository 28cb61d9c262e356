"""One model served by itself: a file, a folder, a class or a version of the registry, with nothing declared.

What a request must hold comes from the model where it says so, else from the number of its features. A version that the
loop trained is served with its features, as a deployment would; any other model is asked with the columns it was fitted
on. Nothing is logged, for nobody declared where to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from math import ceil, floor
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from homeostat.app.admission import check_loading
from homeostat.app.container import Container
from homeostat.app.registry.directories import kept_files
from homeostat.app.registry.reading import resolve
from homeostat.app.registry.trees import read_tree
from homeostat.app.serving import frame_of, load_version
from homeostat.app.settings import Settings
from homeostat.app.tracing.served import tracer_of
from homeostat.domain.contracts import Column, attribute
from homeostat.domain.digests import digest_bytes
from homeostat.domain.errors import BadRequest, HomeostatError, NotFound, Unsafe
from homeostat.domain.records import Arm, Deployment, ModelVersion, Run
from homeostat.domain.refs import Ref, is_name, parse_ref
from homeostat.engine.data.schema import schema_of
from homeostat.engine.registry import classes, flavors, formats, package
from homeostat.engine.registry.answering import Answering, kind_of
from homeostat.engine.registry.arrays import array_of, by_position
from homeostat.engine.serving.plane import Plane
from homeostat.engine.serving.scorer import Derived, Loaded, Output, Parameters, Scored
from homeostat.ports.clock import Clock

_XGBOOST, _LIGHTGBM, _PICKLE = "model.ubj", "model.txt", "model.pkl"
_SUFFIXES: Final[Mapping[str, str]] = {
    ".skops": "model.skops",
    ".onnx": "model.onnx",
    ".safetensors": "model.safetensors",
    ".ubj": _XGBOOST,
    ".json": _XGBOOST,
    ".txt": _LIGHTGBM,
    ".joblib": _PICKLE,
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
}
_TORCH: Final = (
    "PyTorch's files may run what is in them: export it with torch.onnx.export, save its tensors as safetensors, "
    "or serve a class that reads it, as in net.py:Net"
)
_ELSEWISE: Final[Mapping[str, str]] = {
    ".py": "Name its class, as in {path}:Churn",
    **dict.fromkeys((".pt", ".pth", ".pt2", ".ckpt"), _TORCH),
    ".cbm": "Save it as a graph: model.save_model('model.onnx', format='onnx')",
}
"""What to do with files of other kinds, by their suffix."""
_DETAILS: Final[Mapping[str, bytes]] = {
    _XGBOOST: b'{"format":"xgboost","kind":"Booster"}',
    _LIGHTGBM: b'{"format":"lightgbm"}',
}
_EMPTY: Final[Mapping[str, Any]] = {
    "string": "",
    "boolean": False,
    "datetime": datetime(1970, 1, 1, tzinfo=UTC),
}


class Asked(msgspec.Struct, frozen=True):
    """What somebody wants served.

    Args:
        model: A path; a class as ``module:Class`` or ``file.py:Class``; or a reference of the registry:
            ``model/NAME@VERSION``, or with an alias for the version.
        name: What it is called in the paths of requests.
        trusted: Types that may be in its file beyond the known-safe.
        allow_pickle: Whether a pickle or an MLflow ``pyfunc`` may be read, which runs what is in it.
    """

    model: str
    name: str
    trusted: tuple[str, ...] = ()
    allow_pickle: bool = False


class TableScorer:
    """Scores rows with a model that is asked with its own columns. Safe for threads.

    Args:
        answering: The model.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._schema = schema_of(answering.columns)
        names = self._schema.names()
        numeric = len(names) > 1 and all(dtype == pl.Float64 for dtype in self._schema.dtypes())
        asked = by_position(answering.model, names) if numeric else None
        self._asked = Answering(asked, answering.columns) if asked is not None else None
        self._get: Callable[[Any], Any] = attrgetter(*map(attribute, names))

    def given(self, values: Mapping[str, Any]) -> TableScorer:
        """The same asked with parameters, of those that the model names."""
        return TableScorer(self._answering.given(values))

    def score(self, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> Scored:
        """Everything the model gives.

        Raises:
            BadScores: it gave something for another number of rows.
        """
        if self._asked is not None:
            given = self._asked.ask(array_of(map(self._get, rows), len(self._schema)))
            return Scored(self._asked.score(given), Derived(rows, self._frame), outputs=given)
        X = self._frame(rows)
        given = self._answering.ask(X)
        return Scored(self._answering.score(given), X, outputs=given)

    def _frame(self, rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
        return frame_of(rows, self._schema)


class Standalone:
    """What one worker process serves of a model by itself. It holds no lease: nobody else counts on it.

    Args:
        asked: What is to be served.
        settings: Where the registry is, for a reference.
        clock: World and monotonic time.

    Raises:
        NotFound: there is no such file, class, model or version.
        BadReference: it is neither a path nor a class nor a reference.
    """

    def __init__(self, asked: Asked, settings: Settings, clock: Clock) -> None:
        self._container: Container | None = None
        self.failure: HomeostatError | None = None
        version, load = 1, local(asked)
        if load is None:
            ref = reference(asked.model)
            self._container = Container(settings)
            record = found(self._container, ref)
            version, load = record.version, partial(registered, self._container, record, asked)
        deployment = Deployment(
            name=asked.name,
            model=asked.name,
            generation=1,
            arms=[Arm(version, 1.0, "champion")],
            at=clock.now(),
        )
        self.plane = Plane(
            clock,
            source=lambda: [deployment],
            load=lambda _, number: replace(self._loaded(load), version=number),
            sink=None,
            tracer=tracer_of(settings, clock),
        )

    def _loaded(self, load: Callable[[], Loaded]) -> Loaded:
        """The model; why there is none is kept as it was raised."""
        try:
            return load()
        except HomeostatError as error:
            self.failure = error
            raise

    def beat(self, address: str, port: int) -> None:
        """Nothing: its parent sees whether it lives."""

    def leave(self) -> None:
        """Close what was opened."""
        if self._container is not None:
            self._container.close()


def name_of(model: str, name: str = "") -> str:
    """What a model is called: ``name``, else as its file, folder, class or registered model is.

    Raises:
        NotFound: there is nothing at the path.
        BadRequest: it cannot be called that.
    """
    path = Path(model)
    if not name and not path.exists() and classes.is_class(model):
        name = classes.name_of(model)
    name = name or (path.resolve().stem if path.exists() else reference(model).name)
    if not is_name(name):
        raise BadRequest(
            f"{name!r} cannot name a model", remedy="Give --name of letters, digits, dot, dash, underscore"
        )
    return name


def reference(text: str) -> Ref:
    """A version in the registry: ``model/NAME@VERSION``, or with an alias, or as MLflow writes them.

    Raises:
        NotFound: it reads as a path, and nothing is there.
        BadReference: it is no reference.
    """
    if text.startswith("models:/"):
        name, _, at = text.removeprefix("models:/").partition("/")
        name, _, alias = name.partition("@")
        return Ref("model", name, at or alias)
    if not text.startswith("model/"):
        raise NotFound(
            f"there is no file {text}",
            remedy="Give a path, a class as in churn.py:Churn, or a reference as in model/churn@champion",
        )
    return parse_ref(text)


def found(container: Container, ref: Ref) -> ModelVersion:
    """A version in the registry.

    Raises:
        NotFound: there is none.
    """
    try:
        return resolve(container.store, ref.name, ref.version).record
    except NotFound as error:
        raise NotFound(
            f"the registry of {container.settings.home} has no {ref}",
            remedy="See homeostat models ls; --home or --store names another registry",
        ) from error


def registered(container: Container, record: ModelVersion, asked: Asked) -> Loaded:
    """A version of the registry: with its features where the loop trained it, else by its files.

    Raises:
        NotFound: its files are not here.
        Unsafe: one was altered, holds what nobody allowed, or lacks the signatures that the project asks for.
    """
    run = container.store.get(Run, record.run) if record.run else None
    if run is not None and run.code and run.kind == "train":
        return load_version(container, record.model, record.version)
    check_loading(container, record)
    return of_files(dict(kept_files(container, record)), asked)


def local(asked: Asked) -> Callable[[], Loaded] | None:
    """How to load what is here, at a path or in a module; None where the registry is meant."""
    path = Path(asked.model)
    if path.exists():
        return partial(_of_path, path, asked)
    return partial(_of_class, asked.model) if classes.is_class(asked.model) else None


def _of_path(path: Path, asked: Asked) -> Loaded:
    """A model of a file or a folder; what is wrong with it is told by the name that the user knows."""
    files = read(path)
    try:
        return of_files(files, asked)
    except Unsafe as error:
        raise Unsafe(_named(error.message, path, files), remedy=_allowing(error)) from error
    except NotFound as error:
        if path.is_dir():
            raise NotFound(
                f"{path} holds no model",
                remedy="Give a folder with an MLmodel of MLflow, a package of Homeostat, or a model's file",
            ) from error
        raise


def _named(message: str, path: Path, files: Mapping[str, bytes]) -> str:
    """A message about the file of a package, as one about the file that was given."""
    own = next((name for name in files if message.startswith(f"{name} ")), "")
    return f"{path}{message.removeprefix(own)}" if own and path.is_file() else message


def _allowing(error: Unsafe) -> str:
    """How what a file holds is allowed on the command line."""
    if not error.names:
        return error.remedy
    if formats.PICKLED in error.names:
        return "Save it as skops or ONNX; or, if you know where it comes from, add --allow-pickle"
    return f"If you know the code, add {' '.join(f'--trust {name}' for name in error.names)}"


def _of_class(text: str) -> Loaded:
    model = classes.ClassModel(text, Path.cwd())
    # As in a declared model, and other than in a file, a column that may be missing may be left out.
    return _ready(Answering(model, model.columns), model.example, whole=not model.columns)


def read(path: Path) -> dict[str, bytes]:
    """The files of a model at a path, named as in a package.

    Raises:
        NotFound: it is of a kind that is not known.
    """
    if path.is_dir():
        return dict(read_tree(path))
    name = _SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise NotFound(
            f"{path} is of no format that is known",
            remedy=_ELSEWISE.get(path.suffix.lower(), "").format(path=path)
            or f"Give a folder of MLflow, or a file with one of {', '.join(_SUFFIXES)}; any other model by a class "
            "that reads it, as in churn.py:Churn",
        )
    beside = path.with_name(formats.DETAILS)
    details = beside.read_bytes() if beside.is_file() else _DETAILS.get(name)
    return {name: path.read_bytes()} | ({formats.DETAILS: details} if details else {})


def of_files(files: Mapping[str, bytes], asked: Asked) -> Loaded:
    """A model from its files: MLflow's, or those of a package.

    Raises:
        NotFound: there is no model among them.
        Unsafe: one is damaged, or holds what nobody allowed.
        NotInstalled: the library of its format is missing.
        BadScores: it cannot be asked, or does not say what it takes.
    """
    trusted = list(asked.trusted)
    if asked.allow_pickle:
        trusted += [digest_bytes(data) for data in files.values()]
    columns: tuple[Column, ...] = ()
    example: dict[str, Any] = {}
    if flavors.MLMODEL in files:
        model = flavors.restore(files, trusted)
        columns, example = flavors.describe(files).columns, flavors.example(files)
    else:
        model = formats.load(files, trusted)
        if package.SIGNATURE in files:
            columns = msgspec.json.decode(files[package.SIGNATURE], type=package.Signature).features
    return _ready(Answering(model, columns), example, whole=True)


def _ready(answering: Answering, example: Mapping[str, Any], *, whole: bool) -> Loaded:
    empty = {column.name: _empty(column) for column in answering.columns}
    example = empty | {name: one for name, one in example.items() if name in empty}
    given = answering.ask(pl.DataFrame([example], schema=schema_of(answering.columns), strict=False))
    scorer = TableScorer(answering)
    return Loaded(
        version=1,
        scorer=scorer,
        columns=answering.columns,
        key=(),
        example=example,
        outputs=tuple(
            Output(
                name,
                kind_of(found),
                width := found.shape[1] if found.ndim == 2 else 0,
                answering.labels(name, width),
            )
            for name, found in given.items()
        ),
        table=answering.table,
        whole=whole,
        parameters=Parameters(answering.parameters, scorer.given) if answering.parameters else None,
    )


def _empty(column: Column) -> Any:
    """A value that the column may hold; of a text with a pattern, what only the model's own example can say."""
    if column.choices:
        return column.choices[0]
    if column.type in ("integer", "float"):
        return next((one for one in _numbers(column) if _inside(column, one)), 0)
    return _EMPTY[column.type]


def _numbers(column: Column) -> Iterator[float]:
    """Numbers of which one lies within the bounds, where any does: 0, then those at the bounds, between and beyond."""
    ends = sorted(end for end in (column.ge, column.gt, column.le, column.lt) if end is not None)
    if column.type == "integer":
        yield 0
        for end in ends:
            yield from (ceil(end), floor(end), floor(end) + 1, ceil(end) - 1)
        return
    yield from (0.0, *ends)
    yield from (one / 2 + other / 2 for one, other in pairwise(ends))
    for end in ends:
        yield from (end + abs(end) + 1, end - abs(end) - 1)


def _inside(column: Column, value: float) -> bool:
    return (
        (column.ge is None or value >= column.ge)
        and (column.gt is None or value > column.gt)
        and (column.le is None or value <= column.le)
        and (column.lt is None or value < column.lt)
    )
