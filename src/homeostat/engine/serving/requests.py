"""Requests: JSON bodies into checked rows, or an error that names the field at fault.

A body is one object of the request's columns, or ``{"instances": [object, …]}``. Parsing and checking are one
pass of msgspec over the bytes; only a body that fails is looked at again, to say where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from homeostat.domain.contracts import Column, attribute, request_type, vectors
from homeostat.domain.errors import BadRequest
from homeostat.engine.serving.scorer import Loaded

_MANY: Final = re.compile(rb'\s*\{\s*"instances"\s*:')
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_NAMED: Final = re.compile(r"Object (?:missing required|contains unknown) field `(?P<name>.*)`")


class InvalidJson(BadRequest):
    """A body that is not JSON."""


class RequestReader:
    """Reads the requests of one deployment.

    Args:
        columns: What a request holds; nullable columns may be left out.
        whole: They may not: where nobody declared what a request is, what is not there was forgotten.
    """

    def __init__(self, columns: Sequence[Column], *, whole: bool = False) -> None:
        self.columns = tuple(columns)
        self.whole = whole
        self.row_type = request_type("Request", self.columns, whole=whole)
        many = msgspec.defstruct(
            "Requests",
            [("instances", list[self.row_type])],  # type: ignore[name-defined]  # a type made at run time
            forbid_unknown_fields=True,
        )
        self._rows = list[self.row_type]  # type: ignore[name-defined]  # a type made at run time
        self._one = msgspec.json.Decoder(self.row_type)
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(many)
        self._many: Callable[[bytes], list[msgspec.Struct]] = lambda body: decoder.decode(body).instances
        self._vectors = vectors(self.columns)
        self._times = [
            (column.name, attribute(column.name)) for column in self.columns if column.type == "datetime"
        ]

    def read(self, body: bytes) -> tuple[list[msgspec.Struct], bool]:
        """The rows of a body, datetimes in UTC, and whether they came as ``instances``.

        Raises:
            BadRequest: the body breaks the contract; names the field.
        """
        many = _MANY.match(body) is not None
        try:
            rows = self._many(body) if many else [self._one.decode(body)]
        except msgspec.ValidationError as error:
            if (spread := self._spread(body, many)) is not None:
                return self.take(spread), many
            if not many and b'"instances"' in body:
                return self._late(body, error)
            raise self._explain(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _unreadable(body, error) from None
        if not rows:
            raise BadRequest("instances is empty", field="instances", remedy="Send at least one row")
        if self._times:
            self._to_utc(rows)
        return rows, many

    def take(self, rows: Sequence[Any], *, texts: bool = False) -> list[msgspec.Struct]:
        """Checked rows from values that a protocol has read already, datetimes in UTC.

        Args:
            rows: An object of columns each.
            texts: Every value is a text, as in CSV, and stands for one of the column's type.

        Raises:
            BadRequest: one breaks the contract; names the field, as in ``[3].carrier``.
        """
        if self._vectors:
            rows = [self._numbers(row) for row in rows]
        try:
            taken: list[msgspec.Struct] = msgspec.convert(rows, self._rows, strict=not texts)
        except msgspec.ValidationError as error:
            raise self._explain(error) from None
        if not taken:
            raise BadRequest("there is no row", remedy="Send at least one row")
        if self._times:
            self._to_utc(taken)
        return taken

    def convert(self, values: dict[str, Any]) -> msgspec.Struct:
        """One row from plain values, as an example in a package holds them.

        Raises:
            BadRequest: they break the contract.
        """
        known = {column.name for column in self.columns} | {*self._vectors}
        return self.read(msgspec.json.encode({k: v for k, v in values.items() if k in known}))[0][0]

    def _spread(self, body: bytes, many: bool) -> list[Any] | None:
        """Rows whose vectors came as lists, a field for each number; None where there is none."""
        try:
            found = msgspec.json.decode(body) if self._vectors else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None  # what is wrong with it is told by what failed before
        rows = found["instances"] if many and isinstance(found, dict) else [found]
        given = isinstance(rows, list) and any(
            isinstance(row, dict) and isinstance(row.get(name), list)
            for row in rows
            for name in self._vectors
        )
        return rows if given else None

    def _numbers(self, row: Any) -> Any:
        """A row with a field for each number of its vectors."""
        for name, parts in self._vectors.items() if isinstance(row, dict) else ():
            values = row.get(name)
            if isinstance(values, list | tuple):
                if len(values) != len(parts):
                    raise BadRequest(
                        f"has {len(values)} numbers, and {len(parts)} are declared",
                        field=name,
                        remedy="Send as many",
                    )
                row = {k: v for k, v in row.items() if k != name} | dict(zip(parts, values, strict=True))
        return row

    def _late(self, body: bytes, first: msgspec.ValidationError) -> tuple[list[msgspec.Struct], bool]:
        """``instances`` may also stand behind another field, which is then the one at fault."""
        try:
            self._many(body)
        except msgspec.ValidationError as error:
            raise self._explain(error if "instances" in str(first) else first) from None
        raise self._explain(first)

    def _to_utc(self, rows: list[Any]) -> None:
        for row in rows:
            for name, own in self._times:
                value: datetime | None = getattr(row, own)
                if value is not None and value.tzinfo is not UTC:
                    try:
                        setattr(row, own, value.astimezone(UTC))
                    except OverflowError:
                        raise BadRequest(
                            "the time lies outside the years 1 to 9999 in UTC",
                            field=name,
                            remedy="Correct it",
                        ) from None

    def _explain(self, error: msgspec.ValidationError) -> BadRequest:
        match = _AT.match(str(error))
        what, path = (match["what"], match["path"] or "") if match else (str(error), "")
        remedy = "GET /openapi.json says what a request holds"
        if named := _NAMED.search(what):
            path = f"{path}.{named['name']}" if path else named["name"]
            remedy = "Add it" if "missing" in what else f"Use {', '.join(c.name for c in self.columns)}"
        elif "with a timezone" in what or "RFC3339" in what:
            remedy = 'Write a time with its zone, as in "2013-07-01T12:00:00Z"'
        elif not path:
            remedy = 'Send an object of columns, or {"instances": [objects]}'
        column = next((c for c in self.columns if c.name == path.rpartition(".")[2]), None)
        if column is not None and column.choices and "enum" in what:
            remedy = f"Use one of {', '.join(map(str, column.choices))}"
        return BadRequest(what[:500], field=path[:200], remedy=remedy)


def merged(champion: Loaded, others: Sequence[Loaded]) -> tuple[Column, ...]:
    """The champion's columns; what only another arm knows may be sent too, but need not."""
    columns = {column.name: column for column in champion.columns}
    for loaded in others:
        for column in loaded.columns:
            columns.setdefault(column.name, msgspec.structs.replace(column, nullable=True))
    return tuple(columns.values())


class _NoNumber:
    pass


def _unreadable(body: bytes, error: Exception) -> BadRequest:
    """Names the field where NaN or Infinity stands, which other writers of JSON let through."""
    try:
        found = _path(json.loads(body, parse_constant=lambda _: _NoNumber()))
    except (ValueError, RecursionError):
        found = None
    if found is not None:
        return InvalidJson(
            "NaN and Infinity are no JSON numbers", field=found, remedy="Send null where a value is missing"
        )
    return InvalidJson(str(error)[:500], remedy="Send a JSON object in UTF-8")


def _path(value: Any, prefix: str = "") -> str | None:
    if isinstance(value, _NoNumber):
        return prefix
    pairs: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        pairs = [(f"{prefix}.{key}" if prefix else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        pairs = [(f"{prefix}[{index}]", item) for index, item in enumerate(value)]
    return next((found for path, item in pairs if (found := _path(item, path)) is not None), None)
