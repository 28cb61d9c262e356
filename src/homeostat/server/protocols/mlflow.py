"""The scoring protocol of MLflow, which SageMaker's containers share: ``/invocations``, ``/ping``, ``/version``.

JSON with exactly one of ``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``, and ``params`` where
the model's signature has some; or CSV with a line of names. As with MLflow, columns that the model does not know are
passed over, NaN is a missing value, a time without a zone is one in UTC, and columns of a model that knows no names are
taken by their place. An answer is ``{"predictions": [...]}``, for each row what ``predict`` gives: a label or a number,
else an object of outputs. The path names no model: where several deployments are served, ``?deployment=NAME`` does.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.engine.serving.endpoint import Live
from homeostat.engine.serving.predictions import Prediction
from homeostat.engine.serving.tensors import value
from homeostat.server.http import HttpError, Receive, Reply, Scope, encode, header, only, read_body
from homeostat.server.protocols.asking import Asking, Found, marks, refused, sentence
from homeostat.server.protocols.tensorflow import Predictions, named

PATH: Final = "/invocations"
FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_ONE: Final = frozenset({"label", "prediction", "score"})
"""Outputs that stand for the row by themselves; any other is a column of the table that the model answers with."""
_NAIVE: Final = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)(?:[T ](?P<time>\d\d:\d\d:\d\d(?:\.\d+)?))?")
_CODES: Final = {404: "RESOURCE_DOES_NOT_EXIST"}


class Failure(msgspec.Struct):
    """The body of an error."""

    error_code: str
    message: str


def problem(error: HttpError) -> bytes:
    """An error as MLflow has it."""
    code = _CODES.get(error.status, "BAD_REQUEST" if error.status < 500 else "INTERNAL_ERROR")
    return encode(Failure(code, sentence(error)))


async def answer(asking: Asking, limit: int, scope: Scope, receive: Receive) -> Reply:
    """Answer ``POST /invocations``."""
    only(scope, "POST")
    _found(asking, scope["query_string"])
    body = await read_body(scope, receive, limit)
    found = _found(asking, scope["query_string"])
    kind = header(scope, b"content-type").decode("latin-1").partition(";")[0].strip().lower()
    try:
        if kind == "text/csv":
            rows = found.live.reader.take(_csv(found.live, body), texts=True)
        elif kind in ("application/json", "application/x-amz-json-1.0", ""):
            said = _json(body)
            rows = found.live.reader.take(_rows(found.live, said))
            if params := _params(found.live, said.get("params")):
                found = found._replace(live=found.live.given(params))
        else:
            raise HttpError(
                415,
                "unsupported_media_type",
                f"a body of {kind[:100]} is not read",
                remedy="Send the header Content-Type: application/json, or text/csv",
            )
    except BadRequest as error:
        raise refused(error) from None
    items = await asking.ask(found, rows, many=True)
    answers = Predictions([_answer(found.live, item) for item in items])
    return Reply(200, encode(answers), headers=marks(items))


def _answer(live: Live, item: Prediction) -> Any:
    first = live.outputs[0].name
    if first in _ONE:
        return value(first, item)
    return {one.name: value(one.name, item) for one in live.outputs}


def _found(asking: Asking, query: bytes) -> Found:
    wanted = parse_qs(query.decode("latin-1")).get("deployment") if query else None
    return asking.find(wanted[-1]) if wanted else asking.only()


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = _with_nan(body, error)
    if not isinstance(said, dict):
        raise BadRequest("the body is no object", remedy=f"Send an object with one of {', '.join(FORMS)}")
    return said


def _with_nan(body: bytes, error: Exception) -> Any:
    """pandas writes a missing number as NaN, which is no JSON."""

    def number(text: str) -> None:
        if text != "NaN":
            raise BadRequest(f"{text} is no number", remedy="Send null where a value is missing")

    try:
        return json.loads(body, parse_constant=number)
    except (ValueError, RecursionError):
        raise BadRequest(f"the body is no JSON: {error}"[:500], remedy="Send JSON in UTF-8") from None


def _rows(live: Live, said: dict[str, Any]) -> list[Any]:
    given = [form for form in FORMS if form in said]
    if len(given) != 1:
        what = f"has {', '.join(given)} at once" if given else "has no rows"
        raise BadRequest(f"the body {what}", remedy=f"Send exactly one of {', '.join(FORMS)}")
    others = [name for name in said if name not in (*FORMS, "params")]
    if others:
        raise BadRequest("there is no such field", field=str(others[0])[:200], remedy="Leave it out")
    (form,) = given
    match form, said[form]:
        case "dataframe_split", {"data": list(data), **rest}:
            return _known(live, _split(live, rest.get("columns"), data))
        case "dataframe_records", list(records):
            return _known(live, records)
        case "instances", list(rows):
            return _known(live, named(live, rows))
        case "inputs", dict(columns) if not live.table:
            return _known(live, _columns(columns))
        case "inputs", list(rows):
            return _known(live, named(live, rows))
        case "inputs", dict(tables) if list(tables) == [live.table] and isinstance(tables[live.table], list):
            return _known(live, named(live, tables[live.table]))
    raise BadRequest(
        f"{form} has not the form that MLflow gives it", field=form, remedy="See docs/serving.md"
    )


def parameters(live: Live) -> Mapping[str, Any]:
    """The parameters that the model takes, by name, and of which type each is."""
    found = live.parameters.get(live.routes.champion.version)
    return found.types if found is not None else {}


def _params(live: Live, said: Any) -> dict[str, Any]:
    """Checked parameters. Of a model that takes none they are passed over, as with MLflow."""
    known = parameters(live)
    if not isinstance(said or {}, dict):
        raise BadRequest("it is no object", field="params", remedy="Send an object or nothing")
    found = {}
    for name, one in (said or {}).items() if known else ():
        if name not in known:
            raise BadRequest(
                "there is no such parameter", field=f"params.{name}"[:200], remedy=f"Use {', '.join(known)}"
            )
        try:
            if one is not None:
                found[name] = msgspec.convert(one, known[name])
        except msgspec.ValidationError as error:
            raise BadRequest(
                str(error)[:500], field=f"params.{name}", remedy="Send what the model's signature says"
            ) from None
    return found


def _split(live: Live, columns: Any, data: list[Any]) -> list[dict[str, Any]]:
    columns = _placed(live, columns)
    if not isinstance(columns, list):
        raise BadRequest("there are no columns", field="dataframe_split.columns", remedy="Name them")
    made = []
    for place, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise BadRequest(
                f"the row has not {len(columns)} values",
                field=f"dataframe_split.data[{place}]",
                remedy="Correct it",
            )
        made.append({str(name): one for name, one in zip(columns, row, strict=True)})
    return made


def _placed(live: Live, columns: Any) -> Any:
    """The names of columns; of a model that knows none those of their places, whatever the client calls them."""
    names = [column.name for column in live.reader.columns]
    foreign = columns is None or (
        isinstance(columns, list) and len(columns) == len(names) and not {*map(str, columns)} & {*names}
    )
    return names if live.table and foreign else columns


def _columns(columns: dict[str, Any]) -> list[dict[str, Any]]:
    lists = {name: one if isinstance(one, list) else [one] for name, one in columns.items()}
    # A column may come as a tensor of one value a row.
    flat = {
        name: [v[0] if isinstance(v, list) and len(v) == 1 else v for v in one] for name, one in lists.items()
    }
    if len({len(one) for one in flat.values()}) > 1:
        raise BadRequest("the columns differ in length", field="inputs", remedy="Send as many values of each")
    return [dict(zip(flat, row, strict=True)) for row in zip(*flat.values(), strict=True)]


def _known(live: Live, rows: list[Any]) -> list[Any]:
    """Rows with the columns that the model knows. pandas makes floats of integers where some are missing."""
    types = {column.name: column.type for column in live.reader.columns}
    return [
        {name: _plain(types[name], one) for name, one in row.items() if name in types}
        if isinstance(row, dict)
        else row
        for row in rows
    ]


def _plain(kind: str, one: Any) -> Any:
    if kind == "integer" and isinstance(one, float) and one.is_integer():
        return int(one)
    if kind == "datetime" and isinstance(one, str) and (naive := _NAIVE.fullmatch(one.strip())):
        return f"{naive['day']}T{naive['time'] or '00:00:00'}Z"
    return one


def _csv(live: Live, body: bytes) -> list[dict[str, Any]]:
    """The rows of a table with a line of names; an empty field is a missing value."""
    names = {column.name for column in live.reader.columns}
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True)
        columns = _placed(live, next(lines, []))
        data = [line for line in lines if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(
            f"the body is no CSV: {error}"[:500], remedy="Send UTF-8 with a line of names"
        ) from None
    if not data:
        raise BadRequest(
            "the CSV has no row below its line of names",
            remedy="Send a line of names, then a line for each row",
        )
    for place, row in enumerate(data):
        if len(row) != len(columns):
            raise BadRequest(
                f"the row has {len(row)} values, not {len(columns)}", field=f"[{place}]", remedy="Correct it"
            )
    times = {column.name for column in live.reader.columns if column.type == "datetime"}
    floats = {column.name for column in live.reader.columns if column.type == "float"}
    made = []
    for place, row in enumerate(data):
        one = {name: text for name, text in zip(columns, row, strict=True) if name in names}
        for name in floats & one.keys():
            text = one[name].strip().lower()
            if text.lstrip("+-") in ("inf", "infinity"):
                raise BadRequest(f"{text} is no number", field=f"[{place}].{name}", remedy="Leave it empty")
            one[name] = "" if text == "nan" else text
        for name in times & one.keys():
            one[name] = _plain("datetime", one[name])
        made.append({name: text or None for name, text in one.items()})
    return made
