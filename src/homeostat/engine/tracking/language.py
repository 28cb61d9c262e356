r"""The form of filters and orders: from a text to clauses, whatever they name.

    metrics.loss < 0.3 AND params.model = "tree" AND tags.`mlflow.user` LIKE 'a%' AND status IN ('RUNNING', 'FAILED')

Comparisons are joined by AND. A key that is no plain name is quoted with one of ' " `, and a quote inside is doubled.
Messages begin as MLflow's do.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from homeostat.domain.errors import BadRequest

if TYPE_CHECKING:
    from lark import Lark, Token

_GRAMMAR: Final = r"""
start: (comparison (_AND comparison)*)?
comparison: operand OPERATOR operand        -> compared
          | operand (LIKE | ILIKE) operand  -> compared
          | operand IN list                 -> compared
          | operand NOT IN list             -> negated
          | operand IS NULL                 -> null
          | operand IS NOT NULL             -> not_null
?operand: IDENTIFIER | NUMBER | TEXT
list: "(" (IDENTIFIER | NUMBER | TEXT | COMMA)* ")"
order: IDENTIFIER (ASC | DESC)?

OPERATOR: /[<>=!]+/
_AND: /AND(?![\w.])/i
LIKE: /LIKE(?![\w.])/i
ILIKE: /ILIKE(?![\w.])/i
IN: /IN(?![\w.])/i
NOT: /NOT(?![\w.])/i
IS: /IS(?![\w.])/i
NULL: /NULL(?![\w.])/i
ASC: /ASC(?![\w.])/i
DESC: /DESC(?![\w.])/i
COMMA: ","
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?(?![\w.])/i
TEXT: /'(''|[^'])*'|"(""|[^"])*"/
IDENTIFIER: /([^\W\d]\w*|`[^`]*`)\.(`(``|[^`])*`|'(''|[^'])*'|"(""|[^"])*"|\w[\w.\/:-]*)|[^\W\d]\w*|`(``|[^`])*`/
%ignore /\s+/
"""
_LONGEST: Final = 100_000  # characters of a filter
_UNSTORED: Final = re.compile("[\0\ud800-\udfff]")
_REMEDY: Final = "Join comparisons by AND, as in metrics.loss < 0.3 AND params.model = 'tree'"


class Clause(NamedTuple):
    """One comparison: a token, an operator and a token, a list of tokens (IN), or None (IS NULL)."""

    left: Token
    op: str
    right: Any


def clauses(text: str, shapeless: str) -> list[Clause]:
    """The comparisons of a filter.

    Args:
        text: The filter.
        shapeless: What the message begins with where it has another form.

    Raises:
        BadRequest: it has another form.
    """
    from lark import UnexpectedInput

    _check(text, "filter")
    try:
        tree: Any = _parser().parse(text, start="start")
    except UnexpectedInput as error:
        rest = _rest(text, error)
        if rest.startswith(";"):
            raise BadRequest(
                f"Search filter contained multiple expression {text!r}. Provide AND-ed expression list",
                field="filter",
                remedy=_REMEDY,
            ) from None
        raise BadRequest(f"{shapeless}: {(rest or text)!r}", field="filter", remedy=_REMEDY) from None
    return [_clause(found.data, found.children) for found in tree.children]


def term(text: str) -> tuple[Token, bool]:
    """The identifier of a term of an order, and whether it is descending.

    Raises:
        BadRequest: it has another form.
    """
    from lark import UnexpectedInput

    _check(text, "order_by")
    try:
        tree: Any = _parser().parse(text, start="order")
    except UnexpectedInput:
        raise BadRequest(
            f"Invalid order_by clause '{text}'. Could not be parsed",
            field="order_by",
            remedy="Write a name and ASC or DESC, as in metrics.loss DESC",
        ) from None
    identifier, *direction = tree.children
    return identifier, bool(direction) and direction[0].type == "DESC"


def unquoted(text: str) -> str:
    """A text without its quotes, and with those inside it no longer doubled."""
    quote = text[:1]
    if quote in ("'", '"', "`") and len(text) > 1:
        return text[1:-1].replace(quote * 2, quote)
    return text


def _clause(form: str, parts: list[Any]) -> Clause:
    left = parts[0]
    if form == "null":
        return Clause(left, "IS NULL", None)
    if form == "not_null":
        return Clause(left, "IS NOT NULL", None)
    right = parts[-1]
    if form == "negated":
        return Clause(left, "NOT IN", right.children)
    return Clause(left, str(parts[1]).upper(), getattr(right, "children", right))


def _rest(text: str, error: Any) -> str:
    """What stands from the place on that does not parse, shortened."""
    at = error.pos_in_stream
    rest = text[at:].strip() if at is not None and at >= 0 else ""
    return rest if len(rest) <= 80 else rest[:77] + "..."


def _check(text: str, field: str) -> None:
    """Refuse what no store can be asked."""
    if len(text) > _LONGEST:
        raise BadRequest(
            f"Invalid {field}: it has {len(text)} characters, and {_LONGEST} are the most",
            field=field,
            remedy="Ask for fewer things at once",
        )
    if _UNSTORED.search(text):
        raise BadRequest(
            f"Invalid {field}: it holds NUL or half a surrogate pair", field=field, remedy="Leave that out"
        )


@cache
def _parser() -> Lark:
    # Parsing is rare in processes that do not search, and the library takes a while to import.
    from lark import Lark

    return Lark(
        _GRAMMAR, parser="lalr", start=["start", "order"], keep_all_tokens=False, maybe_placeholders=False
    )
