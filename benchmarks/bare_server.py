"""The least that anyone would do to serve the benchmark's model: ASGI, msgspec, ``predict_proba`` of one row."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import numpy as np
import uvicorn
from sklearn.linear_model import LogisticRegression

FEATURES = tuple(f"f{number:02}" for number in range(30))

Row = msgspec.defstruct("Row", [("id", int), *((name, float) for name in FEATURES)])

_decode = msgspec.json.Decoder(Row).decode
_encode = msgspec.json.Encoder().encode


def fitted() -> LogisticRegression:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2_000, len(FEATURES)))
    return LogisticRegression().fit(X, X.sum(axis=1) + rng.normal(size=len(X)) > 0)


class Bare:
    """The application."""

    def __init__(self) -> None:
        self._model = fitted()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = b"{}"
        if scope["method"] == "POST":
            body = b""
            while True:
                message = await receive()
                body += message["body"]
                if not message.get("more_body"):
                    break
            row = _decode(body)
            X = np.array([[getattr(row, name) for name in FEATURES]])
            answer = _encode({"score": float(self._model.predict_proba(X)[0, 1])})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(
        Bare(),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
