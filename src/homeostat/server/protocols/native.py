"""``POST /predict/DEPLOYMENT``: request columns in; out come the score, the prediction's id, and what it stands on.

A body is one object of columns, or ``{"instances": [object, …]}``. ``?explain=features`` adds each feature and how old
what stands behind it was.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from homeostat.domain.errors import BadRequest
from homeostat.engine.serving.predictions import message
from homeostat.engine.serving.scorer import SCORE
from homeostat.engine.serving.tensors import value
from homeostat.server.http import HttpError, Receive, Reply, Scope, encode, only, read_body
from homeostat.server.protocols.asking import Asking, Found, marks, refused, settle

if TYPE_CHECKING:
    from homeostat.engine.serving.predictions import Prediction
    from homeostat.engine.serving.scorer import Output

PREFIX: Final = "/predict/"


class Answer(msgspec.Struct):
    """The answer to one row."""

    prediction_id: str
    deployment: str
    version: int | None
    arm: str
    score: float | None


class Degraded(msgspec.Struct):
    """Why an answer is not the model's: which fallback gave it, and what failed."""

    fallback: str
    reason: str


class Full(msgspec.Struct, omit_defaults=True):
    """An answer with more than its score.

    Args:
        degraded: Why it is a fallback's; then ``version`` is null where no version answered.
        outputs: What a model gave whose answer is not one score.
        features: Each feature by name; null where it is missing.
        as_of: By feature view, when the newest row behind the features became visible.
        age_seconds: By feature view, how old that was at the time of the request.
    """

    prediction_id: str
    deployment: str
    version: int | None
    arm: str
    score: float | None
    degraded: Degraded | msgspec.UnsetType = msgspec.UNSET
    outputs: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    features: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    as_of: dict[str, datetime | None] | msgspec.UnsetType = msgspec.UNSET
    age_seconds: dict[str, float | None] | msgspec.UnsetType = msgspec.UNSET


class Answers(msgspec.Struct):
    """The answer to ``instances``, in their order."""

    deployment: str
    predictions: list[Answer] | list[Full]


class Taken(NamedTuple):
    """A request that was checked."""

    found: Found
    rows: list[msgspec.Struct]
    many: bool
    explain: bool

    def reply(self, items: list[Prediction]) -> Reply:
        """The answer, once the rows are decided.

        Raises:
            HttpError: a row cannot be scored.
        """
        settle(items, self.many)
        name, live = self.found.name, self.found.live
        headers = marks(items)
        if self.explain or headers or live.outputs[0] is not SCORE:
            answers: list[Answer] | list[Full] = [
                _full(name, item, live.outputs, self.explain) for item in items
            ]
        else:
            answers = [Answer(item.id, name, item.version, item.role, item.score) for item in items]
        return Reply(200, encode(Answers(name, answers) if self.many else answers[0]), headers=headers)


def take(asking: Asking, name: str, query: bytes, body: bytes) -> Taken:
    """Check a request.

    Raises:
        HttpError: it breaks the contract, or there is no such deployment.
    """
    found = asking.find(name)
    explain = _explain(query) if query else False
    try:
        rows, many = found.live.reader.read(body)
    except BadRequest as error:
        raise refused(error) from None
    return Taken(found, rows, many, explain)


async def predict(asking: Asking, limit: int, scope: Scope, receive: Receive) -> Reply:
    """Answer a request."""
    name, query = scope["path"][len(PREFIX) :], scope["query_string"]
    asking.find(name)
    only(scope, "POST")
    if query:
        _explain(query)  # before the body is read
    taken = take(asking, name, query, await read_body(scope, receive, limit))
    return taken.reply(await asking.submit(taken.found, taken.rows))


def _explain(query: bytes) -> bool:
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("explain")
    if values is None:
        return False
    if values != ["features"]:
        raise HttpError(
            400,
            "invalid_request",
            f"cannot explain {values[-1][:50]!r}",
            field="explain",
            remedy="Use explain=features",
        )
    return True


def _full(name: str, item: Prediction, outputs: tuple[Output, ...], explain: bool) -> Full:
    scored, index = item.scored, item.index
    assert scored is not None
    full = Full(item.id, name, item.version, item.role, item.score)
    if item.fallback is not None and item.error is not None:
        full.degraded = Degraded(item.fallback, message(item.error))
    if scored.outputs:
        full.outputs = {one.name: value(one.name, item) for one in outputs}
    if explain:
        full.features = scored.X.row(index, named=True)
        as_of = {view: times[index] for view, times in scored.as_of.items()}
        full.as_of = as_of
        full.age_seconds = {
            view: None if time is None else (item.time - time).total_seconds() for view, time in as_of.items()
        }
    return full
