"""Errors as MLflow's clients know them: ``{"error_code", "message"}`` and a status."""

from __future__ import annotations

from typing import Final

from homeostat.domain.errors import (
    BadReference,
    BadRequest,
    Conflict,
    HomeostatError,
    NotFound,
    StoreUnavailable,
)
from homeostat.server.http import Headers, HttpError, encode

_STATUS: Final = {
    "INVALID_PARAMETER_VALUE": 400,
    "BAD_REQUEST": 400,
    "INVALID_STATE": 500,
    "RESOURCE_ALREADY_EXISTS": 400,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_LIMIT_EXCEEDED": 429,
    "TEMPORARILY_UNAVAILABLE": 503,
    "NOT_IMPLEMENTED": 501,
    "INTERNAL_ERROR": 500,
}
_CODES: Final[tuple[tuple[type[HomeostatError], str], ...]] = (
    (NotFound, "RESOURCE_DOES_NOT_EXIST"),
    (Conflict, "RESOURCE_ALREADY_EXISTS"),
    (BadRequest, "INVALID_PARAMETER_VALUE"),
    (BadReference, "INVALID_PARAMETER_VALUE"),
    (StoreUnavailable, "TEMPORARILY_UNAVAILABLE"),
)


class MlflowError(HomeostatError):
    """An error with one of MLflow's codes, where the kind of the error does not say which.

    Args:
        code: MLflow's name for it, as in ``INVALID_STATE``.
        message: What went wrong.
        headers: Of the answer.
    """

    def __init__(self, code: str, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers


def of_body(error: HttpError) -> MlflowError:
    """What a client is told whose body is not read: to try again where there is only no room for it now."""
    code = "TEMPORARILY_UNAVAILABLE" if error.status == 503 else "BAD_REQUEST"
    return MlflowError(code, error.message, error.headers)


def answer_of(error: HomeostatError) -> tuple[int, bytes]:
    """The status and the body that tell a client of ``error``."""
    if isinstance(error, MlflowError):
        code = error.code
    else:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "BAD_REQUEST")
    return _STATUS[code], encode({"error_code": code, "message": str(error)})
