"""One model served by itself: a file, a folder, a class or a version of the registry, with nothing declared.

What a request must hold comes from the model where it says so, else from the number of its features. A version that the
loop trained is served with its features, as a deployment would; any other model is asked with the columns it was fitted
on. Nothing is logged, for nobody declared where to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
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
from homeostat.app.serving import load_version
from homeostat.app.settings import Settings
from homeostat.app.tracing.served import tracer_of
from homeostat.domain.contracts import Column, attribute
from homeostat.domain.errors import BadRequest, BadScores, HomeostatError, NotFound, Unsafe
from homeostat.domain.records import Arm, Deployment, ModelVersion, Run
from homeostat.domain.refs import Ref, is_name, parse_ref
from homeostat.engine.data.blank import blank
from homeostat.engine.data.schema import schema_of
from homeostat.engine.registry import classes, flavors, formats, package
from homeostat.engine.registry.answering import Answering, kind_of
from homeostat.engine.registry.arrays import array_of, by_position
from homeostat.engine.serving.frames import frame_of
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


class Asked(msgspec.Struct, frozen=True):
    """What somebody wants served.

    Args:
        model: A path; a class as ``module:Class`` or ``file.py:Class``; or a reference of the registry:
            ``model/NAME@VERSION``, or with an alias for the version.
        name: What it is called in the paths of requests.
        trusted: Types that may be in its file beyond the known-safe, functions that a pickle may name, and digests
            of pickles that may name any.
        allow_pickle: Whether a pickle may be read, and an MLflow ``pyfunc``, which runs code that it brings.
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
    ref = Ref("model", record.model).at(record.version)
    return _told(dict(kept_files(container, record)), asked, str(ref))


def local(asked: Asked) -> Callable[[], Loaded] | None:
    """How to load what is here, at a path or in a module; None where the registry is meant."""
    path = Path(asked.model)
    if path.exists():
        return partial(_of_path, path, asked)
    return partial(_of_class, asked.model) if classes.is_class(asked.model) else None


def _of_path(path: Path, asked: Asked) -> Loaded:
    files = read(path)
    return _told(files, asked, str(path), own=next(iter(files)) if path.is_file() else "")


def _told(files: Mapping[str, bytes], asked: Asked, where: str, own: str = "") -> Loaded:
    """A model of files; what is wrong with it is told of what the user named, with what helps on this command line.

    Args:
        files: Named as in a package.
        asked: What somebody wants served.
        where: What the user named.
        own: What a package calls the one file that the user named.
    """

    def named(message: str) -> str:
        of_it = own and message.startswith(f"{own} ")
        return f"{where}{message.removeprefix(own)}" if of_it else f"{where}: {message}"

    try:
        return of_files(files, asked)
    except Unsafe as error:
        raise Unsafe(named(error.message), remedy=_allowing(error)) from error
    except BadScores as error:
        raise BadScores(named(error.message), remedy=error.remedy) from error
    except NotFound as error:
        raise NotFound(
            f"{where} holds no model",
            remedy="Give a folder with an MLmodel of MLflow, a package of Homeostat, or a model's file",
        ) from error


def _allowing(error: Unsafe) -> str:
    """How what a file holds is allowed on the command line."""
    if not error.names:
        return error.remedy
    flags = " ".join(
        "--allow-pickle" if name == formats.PICKLED else f"--trust {name}" for name in error.names
    )
    if error.names[0] == formats.PICKLED or error.names[0].startswith("sha256:"):
        return f"Save it as skops or ONNX; or, if you know where it comes from, add {flags}"
    return f"If you know the code, add {flags}"


def _of_class(text: str) -> Loaded:
    model = classes.ClassModel(text, Path.cwd())
    # As in a declared model, and other than in a file, a column that may be missing may be left out.
    return _ready(Answering(model, model.columns), model.example, whole=not model.columns)


def read(path: Path) -> dict[str, bytes]:
    """The files of a model at a path, named as in a package.

    Raises:
        NotFound: it is of a kind that is not known.
        Unsafe: there is nothing in it.
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
    if not path.stat().st_size:
        raise Unsafe(f"{path} is empty", remedy="Save the model again")
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
        trusted.append(formats.PICKLED)
    columns: tuple[Column, ...] = ()
    example: dict[str, Any] = {}
    if flavors.MLMODEL in files:
        model = flavors.restore(files, trusted, code=asked.allow_pickle)
        columns, example = flavors.describe(files).columns, flavors.example(files)
    else:
        model = formats.load(files, trusted)
        if package.SIGNATURE in files:
            columns = msgspec.json.decode(files[package.SIGNATURE], type=package.Signature).features
    return _ready(Answering(model, columns), example, whole=True)


def _ready(answering: Answering, example: Mapping[str, Any], *, whole: bool) -> Loaded:
    empty = {column.name: blank(column) for column in answering.columns}
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
