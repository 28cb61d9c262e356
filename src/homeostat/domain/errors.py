"""The one exception tree of Homeostat.

HomeostatError
├── DeclarationError      a project declares something that cannot be (file, line, declaration, remedy)
├── BadReference       a reference that does not parse
├── NotFound              a named thing that is not in the store
├── Conflict              the stored state does not allow the request
├── ContractBroken        rows that do not meet their contract
├── BadRequest            a request that names a wrong column, type or value
├── BadScores             an estimator that answered with what is no probability (also a ValueError)
├── FeaturesMissing       a model that fails on a row whose features are not all there
├── LedgerBroken          the hash chain does not hold
├── StoreUnavailable      a database, object store or online store that does not answer
│   └── Busy              the store is another writer's, for longer than the caller would wait
├── NotInstalled          a library of an optional extra that is not there
└── Unsafe                something that would run code nobody agreed to
"""

from __future__ import annotations

from collections.abc import Sequence


class HomeostatError(Exception):
    """Base of every error that Homeostat raises on purpose.

    Args:
        message: What went wrong, with which object.
        remedy: What to do about it, one sentence.

    Attributes:
        code: What it is called between a server and its clients.
    """

    code: str = "refused"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}. {remedy}" if remedy else message)


class DeclarationError(HomeostatError):
    """A declaration that cannot hold; names where it stands and what to change."""

    code = "declaration_error"

    def __init__(
        self, message: str, *, remedy: str = "", declaration: str = "", file: str = "", line: int = 0
    ) -> None:
        self.declaration, self.file, self.line = declaration, file, line
        where = f"{file}:{line}: " if file else ""
        what = f"{declaration}: " if declaration else ""
        super().__init__(f"{where}{what}{message}", remedy=remedy)


class BadReference(HomeostatError):
    """A text that is no reference of the form kind/name@version."""

    code = "bad_reference"


class NotFound(HomeostatError):
    """A named thing that the store does not hold."""

    code = "not_found"


class Conflict(HomeostatError):
    """The stored state does not allow what was asked."""

    code = "conflict"


class ContractBroken(HomeostatError):
    """Rows that do not meet the contract of their dataset."""

    code = "contract_broken"


class BadRequest(HomeostatError):
    """A request that cannot be answered as it is.

    Args:
        field: The offending field, as a path from the request's root; empty when it is the whole.
    """

    code = "bad_request"

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        self.field = field
        super().__init__(message, remedy=remedy)


class BadScores(HomeostatError, ValueError):
    """An estimator answered with the wrong number of scores, or with one that is no probability."""


class FeaturesMissing(HomeostatError):
    """A model failed on a row whose features are not all there."""


class LedgerBroken(HomeostatError):
    """The hash chain of the ledger does not hold."""


class StoreUnavailable(HomeostatError):
    """A database, object store or online store that does not answer."""

    code = "store_unavailable"


class Busy(StoreUnavailable):
    """Another writer has the store, for longer than the caller would wait."""


class NotInstalled(HomeostatError):
    """A library that an optional part of Homeostat needs is not there."""


class Unsafe(HomeostatError):
    """Something that would run code which the project does not name.

    Args:
        names: What would have to be allowed, where that is all that is wrong.
    """

    code = "unsafe"

    def __init__(self, message: str, *, remedy: str = "", names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        super().__init__(message, remedy=remedy)
