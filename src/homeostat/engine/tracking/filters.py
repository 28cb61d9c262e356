"""The meaning of filters and orders: clauses as comparisons whose names and values are those of the records.

What may be compared with what depends on the kind of thing that is searched (``kinds``); the form is in ``language``.
Messages begin as MLflow's do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.engine.tracking.kinds import Attribute, Kind
from homeostat.engine.tracking.language import Clause, clauses, term, unquoted
from homeostat.ports.search import Comparison, Dataset, Entity, Op, Order

_NUMERIC: Final = ("=", "!=", "<", "<=", ">", ">=")
_LISTS: Final = ("IN", "NOT IN")
_TEXTUAL: Final = ("=", "!=", "LIKE", "ILIKE", *_LISTS)
_PATTERNS: Final = ("LIKE", "ILIKE")
_NULLS: Final = ("IS NULL", "IS NOT NULL")
_NUMERAL: Final = ("=", "!=", *_LISTS)
_KEYS: Final = {"dataset": ("name", "digest", "context"), "span": ("name", "type", "status")}
_JUDGED: Final = ("feedback", "expectation")
_INNER: Final = "attributes."  # before the name of a span's attribute
_OF_RUN: Final = ("metadata", "mlflow.sourceRun", "=")
_PATTERN: Final = 10_000  # characters; SQLite refuses a pattern that is a few times as long
_CLAUSES: Final = 100
_TEXTS: Final = 10_000  # in lists
_TERMS: Final = 20  # of an order
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CALLED: Final = {"param": "parameter"}  # by MLflow


def parse(text: str, kind: Kind) -> tuple[Comparison, ...]:
    """The comparisons of a filter, in order; all must hold.

    Args:
        text: The filter; empty: none.
        kind: What is searched.

    Raises:
        BadRequest: the filter has another form, names what the kind has not, or compares what cannot be compared.
    """
    found = _parsed(text, kind) if text.strip() else ()
    if not kind.apart:
        return found
    about = [one for one in found if one.entity == "tag" and one.key == kind.apart]
    if any((one.op, str(one.value).lower()) in (("=", "true"), ("!=", "false")) for one in about):
        return found
    return (*(one for one in found if one not in about), Comparison("tag", kind.apart, "LACKS", "true"))


def parse_order(texts: Iterable[str], kind: Kind) -> tuple[Order, ...]:
    """The terms of an order, each ``key``, ``key ASC`` or ``key DESC``, with those that make it complete.

    Args:
        texts: The terms, the heaviest first; none: the kind's own order.
        kind: What is searched.

    Raises:
        BadRequest: a term has another form, names what the kind has not, or comes twice.
    """
    return complete([_order(text, kind) for text in texts], kind)


def complete(given: Sequence[Order], kind: Kind) -> tuple[Order, ...]:
    """An order with the terms that tell any two things apart.

    Raises:
        BadRequest: a term comes twice.
    """
    if not given:
        return kind.default
    if len(given) > _TERMS:
        raise BadRequest(
            f"Invalid order_by: it has {len(given)} terms, and {_TERMS} are the most",
            field="order_by",
            remedy="Leave out the last ones",
        )
    seen = {(one.entity, one.key, one.on) for one in given}
    if len(seen) < len(given):
        raise BadRequest(
            f"`order_by` contains duplicate fields: {[one.key for one in given]}",
            field="order_by",
            remedy="Name each once",
        )
    return (*given, *(tie for tie in kind.ties if (tie.entity, tie.key, tie.on) not in seen))


def ordered(name: str, kind: Kind, *, descending: bool = False, on: Dataset = ("", "")) -> Order:
    """A term of an order.

    Args:
        name: As in a filter: an attribute, or ``metrics.`` and the like before a key.
        kind: What is searched.
        descending: From the greatest to the least.
        on: Of a metric, only where it was measured on this dataset.

    Raises:
        BadRequest: the kind has no such thing to be ordered by.
    """
    entity, key = _named(name, kind, "order_by")
    if entity not in kind.ordered_by:
        raise BadRequest(
            f"Invalid order_by entity '{entity}'", field="order_by", remedy=_one_of(kind.ordered_by)
        )
    if entity == "attribute":
        key = _attribute(key, kind.orderable or kind.attributes, "order_by").field
    return Order(entity, key, descending, on)


def on_datasets(given: Sequence[Comparison], datasets: Sequence[Dataset]) -> tuple[Comparison, ...]:
    """Comparisons whose metrics count only on ``datasets``; without one of a metric, there must be any on these."""
    if not datasets:
        return tuple(given)
    on = tuple(datasets)
    found = tuple(msgspec.structs.replace(one, on=on) if one.entity == "metric" else one for one in given)
    if any(one.entity == "metric" for one in given):
        return found
    return (*found, Comparison("metric", "", "IS NOT NULL", on=on))


@lru_cache(maxsize=256)
def _parsed(text: str, kind: Kind) -> tuple[Comparison, ...]:
    found = tuple(_comparison(clause, kind) for clause in clauses(text, kind.shapeless))
    texts = sum(len(one.value) for one in found if isinstance(one.value, tuple))
    if len(found) > _CLAUSES or texts > _TEXTS:
        raise _bad(
            f"Invalid filter: it has {len(found)} comparisons and lists of {texts} texts, and {_CLAUSES} and {_TEXTS}"
            " are the most",
            "Ask in parts",
        )
    return found


def _order(text: str, kind: Kind) -> Order:
    identifier, descending = term(text)
    return ordered(str(identifier), kind, descending=descending)


def _comparison(clause: Clause, kind: Kind) -> Comparison:
    if clause.left.type != "IDENTIFIER":
        raise _bad(
            f"Invalid comparison clause. Expected 'Identifier' found '{clause.left}'", "Begin with a name"
        )
    entity, key = _named(str(clause.left), kind, "filter")
    if (entity, key, clause.op) == _OF_RUN:  # so do MLflow's pages ask for what is linked to a run as well
        entity, key = "attribute", "run_id"
    if entity not in kind.entities:
        raise _bad(f"Invalid entity type '{entity}'", _one_of(kind.entities))
    if clause.op in _NULLS:
        if entity not in ("tag", "param", "metadata", *_JUDGED):
            raise _bad(
                "IS NULL / IS NOT NULL is only supported for tags and params, not for"
                f" '{_CALLED.get(entity, entity)}' '{key}'",
                "Compare it with a value",
            )
        return Comparison(entity, key, _op(clause.op, _NULLS, kind))
    if entity == "metric":
        return Comparison("metric", key, _op(clause.op, _NUMERIC, kind), _number(clause, "metric"))
    if entity == "attribute":
        return _of_attribute(clause, key, _attribute(key, kind.attributes, "filter"), kind)
    if (entity, key) == ("span", "content"):  # the same as trace.text
        return _of_attribute(clause, "text", _attribute("text", kind.attributes, "filter"), kind)
    if entity == "span" and key.startswith(_INNER):
        name = unquoted(key.removeprefix(_INNER))
        return Comparison(
            "span attribute", name, _op(clause.op, _TEXTUAL, kind), _texts(clause, "span attribute")
        )
    if entity in _JUDGED:
        op = _op(clause.op, (*_NUMERIC, *_PATTERNS), kind)
        magnitude = op not in ("=", "!=", *_PATTERNS)
        value = _number(clause, entity, quoted=True) if magnitude else _texts(clause, entity)
        return Comparison(entity, key, op, value)
    if entity in _KEYS and key not in _KEYS[entity]:
        raise _bad(
            f"Invalid {entity} key '{key}' specified. Valid keys are '{_KEYS[entity]}'", "Use one of these"
        )
    return Comparison(
        entity, key, _op(clause.op, _TEXTUAL, kind), _texts(clause, _CALLED.get(entity, entity))
    )


def _of_attribute(clause: Clause, name: str, attribute: Attribute, kind: Kind) -> Comparison:
    if attribute.form in ("time", "number"):
        op = _op(clause.op, _NUMERIC, kind)
        quoted = attribute.form == "number"
        number = _number(clause, f"numeric attribute: {name}", quoted=quoted)
        return Comparison("attribute", attribute.field, op, number)
    if attribute.form == "numeral":
        op = _op(clause.op, _NUMERAL, kind)
        given = _texts(clause, "attributes")
        whole = tuple(map(_whole, given)) if isinstance(given, tuple) else _whole(given)
        return Comparison("attribute", attribute.field, op, whole)
    if attribute.form == "prompt":
        _op(clause.op, ("=",), kind)
        return Comparison(attribute.entity, attribute.field, "HAS", _prompt(str(_texts(clause, name))))
    op = _op(clause.op, _PATTERNS if attribute.entity == "text" else _TEXTUAL, kind)
    value = _texts(clause, "attributes")
    if not attribute.texts:
        return Comparison(attribute.entity, attribute.field, op, value)
    matches = _matcher(op, value)
    stored = tuple(stored for stored, told in attribute.texts.items() if matches(told))
    return Comparison("attribute", attribute.field, "IN", stored)


def _prompt(text: str) -> str:
    """A version of a prompt as MLflow's client writes it into the list of those that a trace used."""
    name, slash, version = text.rpartition("/")
    if not slash or not name or not version:
        raise _bad(f"Invalid prompts filter value '{text}'", "Write prompt = 'name/version'")
    return json.dumps({"name": name, "version": version})


def _named(identifier: str, kind: Kind, field: str) -> tuple[Entity, str]:
    """The entity and the key of an identifier. Quoted as a whole, or without a dot, it names an attribute."""
    first, dot, rest = identifier.partition(".")
    if identifier.startswith("`"):
        end = identifier.find("`.", 1)
        first, dot, rest = (
            (identifier[: end + 1], ".", identifier[end + 2 :]) if end > 0 else (identifier, "", "")
        )
    if not dot:
        return "attribute", unquoted(first)
    entity = kind.aliases.get(unquoted(first))
    if entity is None:
        valid = [
            _CALLED.get(name, name)
            for name in ("metric", "param", "tag", "attribute", "dataset", "metadata", "span", *_JUDGED)
            if name in kind.entities
        ]
        raise BadRequest(
            f"Invalid entity type '{unquoted(first)}'. Valid values are {valid}",
            field=field,
            remedy="Quote a key that has dots in it and belongs to none",
        )
    return entity, unquoted(rest)


def _attribute(name: str, known: Mapping[str, Attribute], field: str) -> Attribute:
    found = known.get(name)
    if found is None:
        begin = "Invalid order_by clause: " if field == "order_by" else ""
        raise BadRequest(
            f"{begin}Invalid attribute key '{name}' specified. Valid keys are '{sorted(known)}'",
            field=field,
            remedy="Name a metric, parameter or tag with metrics., params. or tags. before it",
        )
    return found


def _op(given: str, accepted: Sequence[str], kind: Kind) -> Op:
    if given not in accepted:
        raise _bad(f"{kind.incomparable} '{given}' not one of '{tuple(accepted)}'", "Use one of these")
    return given  # type: ignore[return-value]


def _number(clause: Clause, what: str, *, quoted: bool = False) -> int | float:
    shown = "a list" if isinstance(clause.right, list) else clause.right
    if isinstance(clause.right, list) or clause.right.type not in ("NUMBER", "TEXT" if quoted else "NUMBER"):
        raise _bad(f"Expected numeric value type for {what}. Found {shown}", "Write a number without quotes")
    text = unquoted(clause.right)
    if not _NUMBER.fullmatch(text):
        raise _bad(f"Expected numeric value type for {what}. Found {shown}", "Write a number")
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def _texts(clause: Clause, what: str) -> str | tuple[str, ...]:
    """The text, or the texts of a list, that is compared with."""
    if clause.op in _LISTS:
        return _list(clause.right)
    token = clause.right
    if token.type == "IDENTIFIER":
        raise _bad(
            f"Parameter value is either not quoted or unidentified quote types used for string value {token}. Use"
            " either single or double quotes",
            f"Write '{unquoted(token)}'",
        )
    if token.type != "TEXT":
        raise _bad(
            f"Expected a quoted string value for {what} (e.g. 'my-value'). Got value {token}",
            f"Write '{token}'",
        )
    text = unquoted(token)
    if clause.op in ("LIKE", "ILIKE") and len(text) > _PATTERN:
        raise _bad(
            f"The pattern has {len(text)} characters, and {_PATTERN} are the most", "Use a shorter one"
        )
    return text


def _list(tokens: list[Any]) -> tuple[str, ...]:
    begin = "While parsing a list in the query, expected"
    remedy = "Write ('a', 'b')"
    values = [token for token in tokens if token.type != "COMMA"]
    if not tokens:
        raise _bad(f"{begin} a non-empty list of string values, but got empty list", remedy)
    commas = [token.type == "COMMA" for token in tokens]
    if commas != [bool(place % 2) for place in range(len(tokens))]:
        raise _bad(f"{begin} a non-empty list of string values, but got ill-formed list", remedy)
    if any(token.type != "TEXT" for token in values):
        shown = ", ".join(map(str, values))
        raise _bad(
            f"{begin} string value, punctuation, or whitespace, but got different type in list: ({shown})",
            remedy,
        )
    return tuple(map(unquoted, values))


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise _bad(
            f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer",
            "Look for it by its name",
        )
    return int(text)


def _matcher(op: Op, value: Any) -> Callable[[str], bool]:
    """What holds of a text, in Python: for texts that are stored by another name."""
    if op in ("LIKE", "ILIKE"):
        return lambda text: _like(value, text) if op == "LIKE" else _like(value.lower(), text.lower())
    wanted = value if isinstance(value, tuple) else (value,)
    if op in ("=", "IN"):
        return lambda text: text in wanted
    return lambda text: text not in wanted


def _one_of(names: Iterable[str]) -> str:
    return f"Use one of {', '.join(sorted(names))}"


def _bad(message: str, remedy: str) -> BadRequest:
    return BadRequest(message, field="filter", remedy=remedy)


def _like(pattern: str, text: str) -> bool:
    """SQL's LIKE in at most as many steps as the product of the lengths: regular expressions have no such bound."""
    place = at = begun = 0
    wild = -1
    while at < len(text):
        if place < len(pattern) and pattern[place] == "%":
            wild, begun = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("_", text[at]):
            place, at = place + 1, at + 1
        elif wild >= 0:  # let the last % take one more
            begun += 1
            place, at = wild + 1, begun
        else:
            return False
    return not pattern[place:].strip("%")
