"""Damages a model's file at random, reads each and asks it: what the reader lets through must not end the process.

``python -m tests.engine.registry.mutating FORMAT SEED COUNT`` writes how many were refused and how many answered. A
process of its own, since a fault shows as one that dies.
"""

from __future__ import annotations

import random
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import onnx
import polars as pl
import xgboost

from homeostat.domain.errors import HomeostatError
from homeostat.engine.registry import package
from homeostat.engine.registry.formats import graphs, lgbm, xgb
from tests.engine.registry.packing import RNG, X, Y

WHOLE = X.with_columns(d=np.asarray(RNG.integers(0, 9, 300)))


def _xgboost(form: str = "ubj") -> bytes:
    frame = WHOLE.with_columns(pl.col("d").cast(pl.String).cast(pl.Categorical))
    model = xgboost.XGBClassifier(n_estimators=4, max_depth=3, enable_categorical=True, max_cat_to_onehot=1)
    return bytes(model.fit(frame, Y).get_booster().save_raw(form))


def _lightgbm() -> bytes:
    model = lightgbm.LGBMClassifier(n_estimators=4, num_leaves=6, min_child_samples=5, verbose=-1)
    return bytes(model.fit(WHOLE, Y, categorical_feature=[3]).booster_.model_to_string().encode())


def _onnx() -> bytes:
    import skl2onnx
    from sklearn.ensemble import RandomForestClassifier

    frame = WHOLE.fill_null(0)
    forest = RandomForestClassifier(4, max_depth=4, random_state=0).fit(frame, Y)
    table = frame.to_numpy().astype(np.float32)
    return bytes(skl2onnx.to_onnx(forest, table, options={"zipmap": False}).SerializeToString())


def _read_xgboost(data: bytes) -> Any:
    return xgb.restore(data, "XGBClassifier")


def damaged_graph(data: bytes, chance: random.Random) -> bytes:
    """A graph with other numbers in the attributes of its nodes."""
    graph = onnx.load_model_from_string(data)
    lists = [a.ints for node in graph.graph.node for a in node.attribute if len(a.ints)]
    for _ in range(chance.randint(1, 3)):
        chosen = chance.choice(lists)
        chosen[chance.randrange(len(chosen))] = chance.choice([-1, 0, 3, 7, 99999999, -(2**63), 2**31])
    return bytes(graph.SerializeToString())


def damaged_text(data: bytes, chance: random.Random) -> bytes:
    """A text with other numbers."""
    for _ in range(chance.randint(1, 2)):
        number = chance.choice(list(re.finditer(rb"-?\d+", data)))
        other = chance.choice([b"-1", b"0", b"7", b"99999999", b"-3", b"1e9", b"", b"2147483648"])
        data = data[: number.start()] + other + data[number.end() :]
    return data


def damaged(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to three faults: other bits, other numbers, pieces lost or doubled."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(found))
        kind = chance.randrange(5)
        if kind == 0:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[at : at + 4] = chance.randbytes(4)
        elif kind == 2:
            found[at : at + 4] = b"\x7f\xff\xff\xff"
        elif kind == 3:
            del found[at : at + chance.randint(1, 40)]
        else:
            found[at:at] = found[at : at + chance.randint(1, 40)]
    return bytes(found)


Damage = Callable[[bytes, random.Random], bytes]
FORMATS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any], tuple[Damage, ...]]] = {
    "xgboost": (_xgboost, _read_xgboost, (damaged,)),
    "xgboost-json": (lambda: _xgboost("json"), _read_xgboost, (damaged_text,)),
    "lightgbm": (_lightgbm, lgbm.restore, (damaged, damaged_text)),
    "onnx": (_onnx, graphs.OnnxModel, (damaged, damaged_graph)),
}


def main() -> None:
    name, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    make, read, damages = FORMATS[name]
    whole, chance = make(), random.Random(seed)
    frame = WHOLE.fill_null(0)
    if name.startswith("xgboost"):
        frame = frame.with_columns(pl.col("d").cast(pl.String).cast(pl.Categorical))
    assert len(package.predict(read(whole), frame)) == len(frame)
    refused = answered = 0
    for _ in range(count):
        data = chance.choice(damages)(whole, chance)
        try:
            package.predict(read(data), frame)
            answered += 1
        except HomeostatError:
            refused += 1
    sys.stdout.write(f"{refused} {answered}\n")


if __name__ == "__main__":
    main()
