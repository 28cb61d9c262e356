"""Predicting a table of any size: read in parts, checked and scored as requests are, written in parts.

No more than a few parts are in memory. The output appears under its name once it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import polars as pl

from homeostat.app.container import Container
from homeostat.app.reading import read as read_dataset
from homeostat.app.serving import ModelScorer
from homeostat.app.standalone import Asked, found, local, reference, registered
from homeostat.domain.contracts import attribute
from homeostat.domain.errors import BadRequest, Conflict, HomeostatError, NotFound
from homeostat.domain.refs import Ref
from homeostat.engine.data.schema import schema_of
from homeostat.engine.serving.predictions import message
from homeostat.engine.serving.requests import RequestReader
from homeostat.engine.serving.scorer import Loaded, Output, attempt

PART: Final = 8_192
ERROR: Final = "error"
_TYPES: Final[Mapping[str, Any]] = {
    "float": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "string": pl.String(),
    "datetime": pl.Datetime("us", "UTC"),
}
_TEXTS: Final = (".csv",)
_FORMATS: Final = (".parquet", ".csv", ".ndjson", ".jsonl")


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a table: how many rows, how many of them have no answer, and which model gave the others."""

    model: str
    rows: int
    failed: int
    output: str


def predict(
    container: Container,
    model: str,
    source: Path,
    target: Path,
    *,
    trusted: Sequence[str] = (),
    allow_pickle: bool = False,
    on_error: Literal["stop", "keep"] = "stop",
    as_of: Literal["now", "request"] = "now",
    part: int = PART,
    tell: Callable[[int], None] = lambda rows: None,
) -> Predicted:
    """Answer every row of a table.

    Args:
        container: The ports.
        model: A path, or a reference of the registry as ``model/churn@champion``.
        source: Rows as Parquet, CSV or NDJSON, with the columns that a request has; others are carried along.
        target: Where the same rows go with their answers beside them, in the format that its suffix names.
        trusted: Types that the model's file may hold beyond the known-safe.
        allow_pickle: Whether it may be a pickle, or an MLflow ``pyfunc``, which runs code that it brings.
        on_error: Whether a row without an answer ends it, or gets its ``error`` beside it.
        as_of: Whether features are those of now, as served, or those that could be seen at the request's time.
        part: How many rows are scored at once.
        tell: Called with the number of rows done.

    Raises:
        NotFound: there is no such model or file.
        BadRequest: a row breaks the contract, or a format is not known; names the row and the field.
        Conflict: features as of the request are asked of a model that has none, or whose requests have no time.
    """
    for path in (source, target):
        if path.suffix.lower() not in _FORMATS:
            raise BadRequest(f"{path} is of no format that is known", remedy=f"Use {', '.join(_FORMATS)}")
    if not source.is_file():
        raise NotFound(f"there is no file {source}", remedy="Name a table of rows to answer")
    if target.resolve() == source.resolve():
        raise BadRequest(f"{target} is the input itself", remedy="Give another --output")
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}", remedy="Make it, or give another --output")
    name, loaded = _loaded(container, Asked(model, "model", tuple(trusted), allow_pickle))
    texts = source.suffix.lower() in _TEXTS
    flat = target.suffix.lower() in _TEXTS
    answering = _Answering(container, loaded, on_error, then=as_of == "request", texts=texts, flat=flat)
    parts = _parts(source, part)
    first = next(parts, None)
    if first is None or not first.height:
        raise BadRequest(f"{source} has no rows", remedy="Give a table with at least one row")
    done = failed = 0

    def answered() -> Iterator[pl.DataFrame]:
        nonlocal done, failed
        for rows in _chained(first, parts):
            made = answering.answer(rows, done)
            done += rows.height
            if ERROR in made.columns:
                failed += made.height - made[ERROR].null_count()
            tell(done)
            yield made

    _write(answered(), answering.schema(first), target)
    return Predicted(model=name, rows=done, failed=failed, output=str(target))


def _loaded(container: Container, asked: Asked) -> tuple[str, Loaded]:
    if load := local(asked):
        return asked.model, load()
    ref = reference(asked.model)
    record = found(container, ref)
    return str(Ref("model", record.model).at(record.version)), registered(container, record, asked)


def _parts(source: Path, size: int) -> Iterator[pl.DataFrame]:
    """The rows of a file, in order, a part at a time; those of a CSV file as texts."""
    suffix = source.suffix.lower()
    if suffix == ".parquet":
        rows = pl.scan_parquet(source)
    elif suffix in _TEXTS:
        rows = pl.scan_csv(source, infer_schema=False)
    else:
        rows = pl.scan_ndjson(source, infer_schema_length=None)
    try:
        for found in rows.collect_batches(chunk_size=size, maintain_order=True):
            yield from found.iter_slices(size)
    except pl.exceptions.PolarsError as error:
        raise BadRequest(f"{source} cannot be read: {error}", remedy="Correct the file") from error


def _chained(first: pl.DataFrame, rest: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    yield first
    yield from rest


class _Answering:
    """Answers parts of one table with one model."""

    def __init__(
        self,
        container: Container,
        loaded: Loaded,
        on_error: Literal["stop", "keep"],
        *,
        then: bool,
        texts: bool,
        flat: bool,
    ) -> None:
        self._container, self._loaded, self._keep = container, loaded, on_error == "keep"
        self._texts, self._flat = texts, flat
        self._reader = RequestReader(loaded.columns, whole=loaded.whole)
        self._schema = schema_of(loaded.columns)
        self._sources: dict[str, pl.LazyFrame] | None = None
        if then:
            scorer = loaded.scorer
            if not isinstance(scorer, ModelScorer) or not scorer.features.stored or not loaded.time:
                raise Conflict(
                    "this model has no features that depend on the time of a request",
                    remedy="Leave out --as-of request",
                )
            names = {view.source.name for view in scorer.features.stored}
            self._sources = {name: read_dataset(container, name) for name in names}

    def schema(self, first: pl.DataFrame) -> dict[str, Any]:
        """The columns of the output: those of the input, then the answers."""
        columns = dict(first.schema)
        for output in self._loaded.outputs:
            dtype = _TYPES[output.type]
            if self._flat and output.width:
                columns |= {_free(name, first): dtype for name in _flattened(output)}
            else:
                columns[_free(output.name, first)] = pl.List(dtype) if output.width else dtype
        if self._keep:
            columns[_free(ERROR, first)] = pl.String()
        return columns

    def answer(self, rows: pl.DataFrame, before: int) -> pl.DataFrame:
        """A part with its answers.

        Raises:
            BadRequest: a row breaks the contract.
            HomeostatError: the model could not answer a row.
        """
        taken, wrong = self._taken(rows, before)
        whole = [row for row in taken if row is not None]
        times = [self._time(row) for row in whole]
        outcomes = iter(self._score(whole, times) if whole else ())
        found = [wrong[n] if row is None else next(outcomes) for n, row in enumerate(taken)]
        errors = [one if isinstance(one, Exception) else None for one in found]
        if not self._keep and (failed := next((n for n, one in enumerate(errors) if one), None)) is not None:
            raise HomeostatError(
                f"row {before + failed + 1} has no answer: {message(errors[failed])}",  # type: ignore[arg-type] # it failed
                remedy="Correct it, or keep going with --on-error keep",
            ) from errors[failed]
        columns = []
        for output in self._loaded.outputs:
            dtype = _TYPES[output.type]
            values = [_value(one, output) for one in found]
            if self._flat and output.width:
                columns += [
                    pl.Series(_free(name, rows), [one and one[place] for one in values], dtype)
                    for place, name in enumerate(_flattened(output))
                ]
            else:
                kind = pl.List(dtype) if output.width else dtype
                columns.append(pl.Series(_free(output.name, rows), values, kind))
        if self._keep:
            told = [message(error) if error else None for error in errors]
            columns.append(pl.Series(_free(ERROR, rows), told, pl.String))
        return rows.with_columns(columns)

    def _taken(
        self, rows: pl.DataFrame, before: int
    ) -> tuple[list[msgspec.Struct | None], dict[int, Exception]]:
        """Checked rows, None where one breaks the contract, with why."""
        asked = self._plain(rows)
        texts = self._texts
        given = asked.to_dicts() if asked.columns else [{}] * rows.height
        try:
            return list(self._reader.take(given, texts=texts)), {}
        except BadRequest:
            taken: list[msgspec.Struct | None] = []
            wrong: dict[int, Exception] = {}
            for number, one in enumerate(given):
                try:
                    taken += self._reader.take([one], texts=texts)
                except BadRequest as error:
                    field = error.field.partition(".")[2] or error.field
                    if not self._keep:
                        raise BadRequest(
                            f"row {before + number + 1}: {field}: {error.message}",
                            field=field,
                            remedy="Correct it, or keep going with --on-error keep",
                        ) from error
                    taken.append(None)
                    wrong[number] = BadRequest(f"{field}: {error.message}", field=field)
            return taken, wrong

    def _plain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns of a request as a request would hold them: numbers of their type, times in UTC."""
        known = [name for name in self._schema if name in rows.columns]
        casts = {}
        for name in known:
            dtype, wanted = rows.schema[name], self._schema[name]
            if isinstance(dtype, pl.Datetime) and isinstance(wanted, pl.Datetime):
                column = pl.col(name)
                aware = (
                    column.dt.convert_time_zone("UTC")
                    if dtype.time_zone
                    else column.dt.replace_time_zone("UTC")
                )
                casts[name] = aware.cast(wanted)
            elif dtype.is_numeric() and wanted.is_numeric() and dtype != wanted:
                casts[name] = pl.col(name).cast(wanted, strict=False)
        return rows.select(known).with_columns(**casts)

    def _time(self, row: msgspec.Struct) -> datetime:
        time = getattr(row, attribute(self._loaded.time)) if self._loaded.time else None
        return time or self._container.clock.now()

    def _score(self, rows: Sequence[msgspec.Struct], times: Sequence[datetime]) -> Sequence[Any]:
        scorer = self._loaded.scorer
        if self._sources is None or not isinstance(scorer, ModelScorer):
            return attempt(scorer, rows, times)
        columns = {name: [getattr(row, attribute(name)) for row in rows] for name in scorer.schema}
        X = scorer.features.offline(pl.DataFrame(columns, schema=scorer.schema), self._sources)
        scored = scorer.answer(X)
        return [(scored, index) for index in range(len(rows))]


def _value(outcome: Any, output: Output) -> Any:
    if isinstance(outcome, Exception):
        return None
    scored, index = outcome
    value = scored.output(output.name, index)
    return value.tolist() if hasattr(value, "tolist") else value


def _flattened(output: Output) -> list[str]:
    """The columns of an answer of several values where a column holds but one: by class, else by place."""
    return [f"{output.name}_{label}" for label in output.labels or range(output.width)]


def _free(name: str, rows: pl.DataFrame) -> str:
    """A name for an answer that no column of the input has."""
    return f"predicted_{name}" if name in rows.columns else name


def _write(parts: Iterator[pl.DataFrame], schema: dict[str, Any], target: Path) -> None:
    """Write parts as they come; the file appears once it is whole."""
    from polars.io.plugins import register_io_source

    failure: list[BaseException] = []

    def source(*_: object) -> Iterator[pl.DataFrame]:
        try:
            yield from parts
        except BaseException as error:  # polars would tell it as a text of its own
            failure.append(error)
            raise

    rows = register_io_source(source, schema=schema)
    unfinished = target.with_name(f".{target.name}.part")
    with ExitStack() as undo:
        undo.callback(unfinished.unlink, missing_ok=True)
        try:
            if target.suffix.lower() == ".parquet":
                # By default a quarter of a million rows would wait to be written together.
                rows.sink_parquet(unfinished, maintain_order=True, row_group_size=PART)
            elif target.suffix.lower() == ".csv":
                rows.sink_csv(unfinished, maintain_order=True)
            else:
                rows.sink_ndjson(unfinished, maintain_order=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            if failure:
                raise failure[0] from None
            raise BadRequest(
                f"{target} cannot be written: {error}", remedy="Write to another place or format"
            ) from error
        except BaseException:
            if failure:
                raise failure[0] from None
            raise
        unfinished.replace(target)
