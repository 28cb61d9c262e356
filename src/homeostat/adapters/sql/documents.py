"""What lies in stored JSON, as SQL of both dialects: the value of an assessment, the attributes of spans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Double,
    FromClause,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    select,
    true,
)

_ATTRIBUTES: Final = "attributes"


def text_at(column: ColumnElement[Any], *path: str, dialect: str) -> ColumnElement[Any]:
    """The value at a path as a text: a text as it is, ``true``, ``5``; NULL where there is none."""
    if dialect == "sqlite":
        place = _place(path)
        plain = cast(func.json_extract(column, place), Text)
        kind = func.json_type(column, place)
        return case((kind.in_(["true", "false"]), kind), else_=plain)
    return func.json_extract_path_text(_parsed(column), *path)


def number_at(column: ColumnElement[Any], *path: str, dialect: str) -> ColumnElement[Any]:
    """The value at a path where it is a number; NULL where it is anything else."""
    if dialect == "sqlite":
        place = _place(path)
        kind = func.json_type(column, place)
        return case((kind.in_(["integer", "real"]), func.json_extract(column, place)))
    kind = func.json_typeof(func.json_extract_path(_parsed(column), *path))
    return case((kind == "number", cast(text_at(column, *path, dialect=dialect), Double)))


def any_attribute(
    spans: ColumnElement[Any], key: str, holds: Callable[[ColumnElement[Any]], Any], dialect: str
) -> ColumnElement[bool]:
    """That an attribute of this name of any span has a value for which something holds.

    Args:
        spans: Packed spans (``homeostat.engine.tracking.packing``).
        key: The attribute.
        holds: What must hold of the value, as a text; one in quotes, as MLflow writes texts, counts without them.
        dialect: ``sqlite`` or ``postgresql``.
    """
    span: FromClause
    pair: FromClause
    written = msgspec.json.encode(key).decode()  # sought first: most blocks need not be taken apart
    if dialect == "sqlite":
        span = func.json_each(spans).table_valued("value", name="span")
        pair = func.json_each(span.c.value, f"$.{_ATTRIBUTES}").table_valued("value", name="pair")
        named = func.json_extract(pair.c.value, "$[0]") == key
        value = func.trim(text_at(pair.c.value, "2", dialect=dialect), '"')
        mentioned = func.instr(spans, written) > 0
    else:
        span = func.json_array_elements(_parsed(spans)).table_valued("value", name="span")
        inner = func.json_extract_path(cast(span.c.value, JSON), _ATTRIBUTES)
        pair = func.json_array_elements(inner).table_valued("value", name="pair").lateral()
        found = cast(pair.c.value, JSON)
        named = func.json_extract_path_text(found, "0") == key
        value = func.btrim(func.json_extract_path_text(found, "2"), '"')
        mentioned = func.strpos(spans, written) > 0
    one = select(1).select_from(span.join(pair, true())).where(named, holds(value))
    return and_(mentioned, exists(one.correlate(spans.table)))


def _parsed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A text as PostgreSQL's JSON, of which it makes no text that holds NUL: another sign stands for it."""
    return cast(func.replace(column, "\\u0000", "\\ufffd"), JSON)


def _place(path: tuple[str, ...]) -> str:
    """A path as SQLite writes it; of names that this program chose, and of places in lists."""
    return "$" + "".join(f"[{name}]" if name.isdigit() else f".{name}" for name in path)
