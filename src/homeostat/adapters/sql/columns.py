"""Column types: what Python value each takes and how it is kept, the same on both dialects.

Every type refuses what it could not give back: a number that is none, a naive time, a text that PostgreSQL or
UTF-8 cannot hold. So a record that was written reads back equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import eq
from typing import Any, Final, NoReturn

import msgspec
from sqlalchemy import ARRAY, BigInteger, Boolean, Dialect, Float, Integer, LargeBinary, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from homeostat.domain.digests import canonical
from homeostat.domain.errors import BadRequest

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LARGEST: Final = 2**63

# PostgreSQL would sort by the database's locale; "C" sorts by code point, as SQLite and Python do.
TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
# In SQLite an INTEGER primary key is the row's own number, which saves an index.
INTEGER: Final = BigInteger().with_variant(Integer(), "sqlite")


def micros(at: datetime) -> int:
    """``at`` in microseconds since 1970."""
    return (at - EPOCH) // _MICROSECOND


def moment(number: int) -> datetime:
    """The time ``number`` microseconds after 1970."""
    return EPOCH + timedelta(microseconds=number)


def json_text(value: Any, field: str) -> str:
    """``value`` as one JSON text for equal values.

    Raises:
        BadRequest: ``value`` has parts that JSON cannot hold.
    """
    try:
        data = canonical(value)
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise BadRequest(f"{field} cannot be kept as JSON: {error}", field=field) from error
    if b"null" in data and not _finite(value):
        # msgspec writes NaN and infinity as null, which would come back as None.
        raise BadRequest(
            f"{field} holds NaN or infinity, which JSON cannot",
            field=field,
            remedy="Leave the value out, or use None",
        )
    return data.decode()


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_finite, value))
    if isinstance(value, msgspec.Struct):
        return all(_finite(getattr(value, name)) for name in value.__struct_fields__)
    return True


class Kept(TypeDecorator[Any]):
    """Base of the column types; ``field`` names the column in messages."""

    cache_ok = True
    wanted = ""
    # What makes a field's value of one in a row; None: it is that already.
    field_of: Callable[[Any], Any] | None = None

    def __init__(self, field: str) -> None:
        super().__init__()
        self.field = field

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The field's value."""
        return value if value is None or self.field_of is None else self.field_of(value)

    def bind_all(self, values: list[Any], dialect: Dialect) -> list[Any]:
        """What ``process_bind_param`` makes of each; the commonest types check all at once."""
        return [self.process_bind_param(value, dialect) for value in values]

    def refuse(self, value: Any) -> NoReturn:
        """Raise the error for a value that the column cannot take."""
        shown = repr(value)
        raise BadRequest(
            f"{self.field} is {self.wanted}, not {shown if len(shown) <= 60 else shown[:57] + '...'}",
            field=self.field,
        )


class Words(Kept):
    """A text."""

    impl = TEXT
    cache_ok = True
    wanted = "a text without NUL and lone surrogates"

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Check that both databases can hold the text."""
        if value is None:
            return None
        if not isinstance(value, str) or "\0" in value or not (value.isascii() or _is_unicode(value)):
            self.refuse(value)
        return value

    def bind_all(self, values: list[Any], dialect: Dialect) -> list[Any]:
        """Check all texts as one."""
        if set(map(type, values)) == {str}:
            text = "".join(values)
            if "\0" not in text and (text.isascii() or _is_unicode(text)):
                return values
        return super().bind_all(values, dialect)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Whole(Kept):
    """A signed integer of 64 bits."""

    impl = INTEGER
    cache_ok = True
    wanted = "an integer of at most 64 bits"

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        """Check the range."""
        if value is None:
            return None
        if not isinstance(value, int) or not -_LARGEST <= value < _LARGEST:
            self.refuse(value)
        return int(value)

    def bind_all(self, values: list[Any], dialect: Dialect) -> list[Any]:
        """Check the least and the greatest."""
        if set(map(type, values)) == {int} and min(values) >= -_LARGEST and max(values) < _LARGEST:
            return values
        return super().bind_all(values, dialect)


class Real(Kept):
    """A float; NaN is refused, because SQLite keeps it as NULL."""

    impl = Float(53)
    cache_ok = True
    wanted = "a number"

    def process_bind_param(self, value: Any, dialect: Dialect) -> float | None:
        """Check that it is a number."""
        if value is None:
            return None
        if not isinstance(value, (int, float)) or value != value:
            self.refuse(value)
        return float(value)

    def bind_all(self, values: list[Any], dialect: Dialect) -> list[Any]:
        """Check that each equals itself, which NaN does not."""
        if set(map(type, values)) == {float} and all(map(eq, values, values)):
            return values
        return super().bind_all(values, dialect)


class Flag(Kept):
    """True or false."""

    impl = Boolean
    cache_ok = True
    wanted = "True or False"
    field_of = bool

    def process_bind_param(self, value: Any, dialect: Dialect) -> bool | None:
        """Check that it is a bool."""
        if value is not None and not isinstance(value, bool):
            self.refuse(value)
        return value


class Payload(Kept):
    """Bytes."""

    impl = LargeBinary
    cache_ok = True
    wanted = "bytes"

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """Check that it is bytes."""
        if value is not None and not isinstance(value, bytes):
            self.refuse(value)
        return value


class Moment(Kept):
    """An aware datetime, kept as microseconds since 1970, given back in UTC."""

    impl = BigInteger
    cache_ok = True
    wanted = "a datetime with a time zone"
    field_of = staticmethod(moment)

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        """To microseconds."""
        if value is None:
            return None
        if not isinstance(value, datetime) or value.tzinfo is None:
            self.refuse(value)
        try:
            value.astimezone(UTC)
        except OverflowError as error:
            raise BadRequest(
                f"{self.field} is {value.isoformat()}, which in UTC is beyond the calendar",
                field=self.field,
                remedy="Give a time within the years 1 to 9999 in UTC",
            ) from error
        return micros(value)


class Json(Kept):
    """A dict, list or struct of the type ``hint``, kept as JSON text."""

    impl = TEXT
    cache_ok = True

    def __init__(self, field: str, hint: Any) -> None:
        super().__init__(field)
        self.hint = hint
        self.field_of = msgspec.json.Decoder(hint).decode

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """To JSON."""
        return None if value is None else json_text(value, self.field)


class Many(Kept):
    """Any number of values of a column as one parameter: an array in PostgreSQL, a JSON text in SQLite.

    As parameters of their own they could be no more than the database takes in one statement. An array of texts goes
    as one text too, for the driver would write them one by one.

    Args:
        of: The column's type.
    """

    impl = TEXT
    cache_ok = True

    def __init__(self, of: TypeEngine[Any]) -> None:
        assert isinstance(of, Kept)
        super().__init__(of.field)
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An array or a text."""
        if dialect.name == "sqlite" or isinstance(self.of, Words):
            return Text()
        return ARRAY(self.of.load_dialect_impl(dialect))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Check each, and hand them over together."""
        bound = self.of.bind_all(list(value), dialect)
        if dialect.name == "sqlite":
            return json_text(bound, self.field)
        return _array_text(bound) if isinstance(self.of, Words) else bound


def _array_text(values: list[str]) -> str:
    """The text of an array of texts."""
    if not values:
        return "{}"
    escaped = "\0".join(values).replace("\\", "\\\\").replace('"', '\\"')  # no text holds a NUL
    return '{"' + escaped.replace("\0", '","') + '"}'
