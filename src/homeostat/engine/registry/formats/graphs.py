"""ONNX graphs: ``model.onnx``, run by ONNX Runtime on one core.

A training function may give the graph itself (``onnx.ModelProto``), as the converters of scikit-learn, PyTorch and
others make it. Its input is one table of all features, or one column for each by the feature's name; its output is the
probability of class 1, or of both classes. The file must be whole: a graph can name other files for its weights, which
whoever reads it would open, so these are refused but for those of a directory of MLflow's own, as are operators from
outside ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from homeostat.domain.contracts import Column, ColumnType
from homeostat.domain.errors import BadScores, Unsafe
from homeostat.engine.registry.formats.base import Array, Files, damaged, need, numbers, type_name
from homeostat.engine.registry.formats.trees import nodes_once, whole

FILE: Final = "model.onnx"
_PROTO: Final = "ModelProto"
_ROUNDING: Final = 1e-5
_LARGEST: Final = (1 << 31) - 1  # bytes of a message of Protocol Buffers
_TREES: Final = "TreeEnsemble"
_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_DTYPES: Final[dict[str, Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}

_COLUMNS: Final[dict[str, ColumnType]] = {
    "tensor(float)": "float",
    "tensor(double)": "float",
    "tensor(int64)": "integer",
    "tensor(int32)": "integer",
    "tensor(bool)": "boolean",
    "tensor(string)": "string",
}


class OnnxModel:
    """A graph that answers with probabilities.

    Args:
        data: The file's bytes; they are checked.

    Raises:
        Unsafe: they are no graph, or one that reaches outside the file.
        BadScores: the graph has no output that can be a probability.
        NotInstalled: onnx or onnxruntime is missing.
    """

    def __init__(self, data: bytes) -> None:
        runtime = need("onnxruntime", "onnx", FILE)
        check(data)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it refuses, it raises
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise damaged(FILE, f"is no graph that can run: {error}") from error
        self.data = data
        self._output = self._score()

    def predict_proba(self, X: Any) -> Array:
        """The probability of class 1, or of each class."""
        feed = self._feed(X)
        try:
            (found,) = self._session.run([self._output], feed)
        except Exception as error:
            raise BadScores(
                f"the graph fails on {len(X)} rows: {error}", remedy="Look at what it was made for"
            ) from error
        if isinstance(found, list):  # one mapping from class to probability a row
            labels = sorted(found[0]) if found else [0, 1]
            if labels != [0, 1]:
                raise BadScores(f"the graph has the classes {labels}, not 0 and 1")
            return np.asarray([[row[label] for label in labels] for row in found]).reshape(-1, 2)
        scores = np.asarray(found)
        if scores.dtype == np.float32:  # which rounds a probability of one a little above it
            scores = np.where((scores > 1) & (scores < 1 + _ROUNDING), np.float32(1), scores)
        return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores

    def answers(self, X: Any) -> dict[str, Array]:
        """Every output by its name; a mapping from classes to probabilities becomes an array, classes in order."""
        try:
            found = self._session.run(None, self._feed(X))
        except Exception as error:
            raise BadScores(
                f"the graph fails on {len(X)} rows: {error}", remedy="Look at what it was made for"
            ) from error
        names = [one.name for one in self._session.get_outputs()]
        return {
            name: np.asarray([list(row.values()) for row in one])
            if isinstance(one, list)
            else np.asarray(one)
            for name, one in zip(names, found, strict=True)
        }

    @property
    def width(self) -> int:
        """How many columns its one table takes; 0 where the graph does not say, or takes several inputs."""
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0

    def columns(self) -> tuple[Column, ...]:
        """The columns that are its inputs; none where it takes one table."""
        inputs = self._session.get_inputs()
        if self.width or not all(one.type in _COLUMNS for one in inputs):
            return ()
        return tuple(Column(name=one.name, type=_COLUMNS[one.type]) for one in inputs)

    def _feed(self, X: Any) -> dict[str, Array]:
        inputs = self._session.get_inputs()
        if len(inputs) == 1:
            return {inputs[0].name: np.asarray(numbers(X)).astype(_dtype(inputs[0]))}
        frame = X if isinstance(X, pl.DataFrame) else pl.DataFrame(X)
        missing = [one.name for one in inputs if one.name not in frame.columns]
        if missing:
            raise BadScores(
                f"the graph asks for {', '.join(missing)}",
                remedy=f"Name its inputs as the features: {', '.join(frame.columns)}",
            )
        return {one.name: frame[one.name].to_numpy().astype(_dtype(one)).reshape(-1, 1) for one in inputs}

    def _score(self) -> str:
        """The output that is the score: the one of that name, else the last with numbers."""
        outputs = self._session.get_outputs()
        named = [one for one in outputs if one.name in ("probabilities", "output_probability")]
        fitting = [one for one in outputs if one.type in ("tensor(float)", "tensor(double)")]
        fitting += [one for one in outputs if one.type.startswith("seq(map(int64")]
        if not named and not fitting:
            raise BadScores(
                f"the graph gives {', '.join(one.type for one in outputs)}, none of which is a probability",
                remedy="Give it an output of floats",
            )
        return str((named or fitting)[-1].name)


def takes(model: Any) -> bool:
    """A graph."""
    return isinstance(model, OnnxModel) or (
        type(model).__name__ == _PROTO and type_name(model).partition(".")[0] == "onnx"
    )


def classifier(model: Any) -> Any:
    """The graph with a session to run it."""
    return model if isinstance(model, OnnxModel) else OnnxModel(model.SerializeToString())


def dump(model: Any, trusted: Sequence[str]) -> Files:
    """The graph as one file."""
    return {FILE: classifier(model).data}


def load(files: Mapping[str, bytes], trusted: Sequence[str]) -> OnnxModel:
    """The graph with a session to run it.

    Raises:
        Unsafe: the file is damaged, or reaches outside itself.
    """
    return OnnxModel(files[FILE])


def gathered(data: bytes, beside: Mapping[str, bytes]) -> bytes:
    """A graph with the weights in it that it keeps in other files of its folder, as MLflow writes large ones.

    Args:
        data: The graph's file.
        beside: The files of its folder by path. What the graph names elsewhere is not looked for, but stays named.

    Raises:
        Unsafe: it is no graph, names bytes that a file has not, or is too large for one file.
    """
    onnx = need("onnx", "onnx", FILE)
    model = _parsed(onnx, data)
    left = _LARGEST - len(data)
    for tensor in _outside(onnx, model):
        place = _place(tensor)
        if place not in beside:
            continue
        weights = _piece(beside[place], {entry.key: entry.value for entry in tensor.external_data})
        left -= len(weights)
        if left < 0:
            raise Unsafe(
                f"{FILE} and its weights have more than {_LARGEST:,} bytes",
                remedy="Serve a class of your own that asks it, as in net.py:Net",
            )
        tensor.raw_data = weights
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    found: bytes = model.SerializeToString()
    return found


def _piece(file: bytes, said: Mapping[str, str]) -> bytes:
    """The bytes of a tensor within a file."""
    try:
        start = int(said.get("offset", 0))
        end = start + int(said.get("length", len(file) - start))
    except ValueError as error:
        raise damaged(FILE, f"does not say where its weights are: {error}") from error
    if not 0 <= start <= end <= len(file):
        raise damaged(FILE, f"names bytes {start} to {end} of {said['location']}, which has {len(file)}")
    return file[start:end]


def _parsed(onnx: Any, data: bytes) -> Any:
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:
        raise damaged(FILE, f"is no ONNX file: {error}") from error


def check(data: bytes) -> None:
    """Raise unless a graph is sound and keeps to its file.

    Raises:
        Unsafe: it is not, or does not.
    """
    onnx = need("onnx", "onnx", FILE)
    model = _parsed(onnx, data)
    # Before the checker, which would look for the files.
    outside = sorted({_place(tensor) for tensor in _outside(onnx, model)})
    if outside:
        raise Unsafe(
            f"{FILE} names other files for its weights: {', '.join(outside)}",
            remedy="Save it with its weights inside: onnx.save(onnx.load('model.onnx'), 'whole.onnx')",
        )
    others = sorted({one.domain for one in _nodes(onnx, model)} - _DOMAINS - _local(model))
    if others:
        raise Unsafe(
            f"{FILE} uses operators from outside ONNX: {', '.join(map(str, others))}",
            remedy="Export it with standard operators",
        )
    if not all(_tree_holds(node) for node in _nodes(onnx, model) if str(node.op_type).startswith(_TREES)):
        raise damaged(FILE, "holds a tree in which a walk would not end")
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise damaged(FILE, f"is no sound graph: {error}") from error


def _tree_holds(node: Any) -> bool:
    """Whether a walk along the trees of a node ends: ONNX Runtime looks at their indices, and not at that."""
    kept = {one.name: one.ints or one.strings for one in node.attribute}
    left, right = (whole(kept.get(f"nodes_{side}nodeids", [])) for side in ("true", "false"))
    if left is None or right is None or len(left) != len(right):
        return False
    if "nodes_treeids" not in kept:  # of the newer kind: children are places, of nodes or of leaves
        leaf = [whole(kept.get(f"nodes_{side}leafs", [])) for side in ("true", "false")]
        roots = whole(kept.get("tree_roots", []))
        if roots is None or any(one is None or len(one) != len(left) for one in leaf):
            return False
        inner = np.concatenate([left[leaf[0] == 0], right[leaf[1] == 0]])
        # A tree of one leaf has a node whose two sides are that leaf.
        return nodes_once(np.arange(len(left)), inner) and not np.isin(roots, inner).any()
    trees, names = whole(kept["nodes_treeids"]), whole(kept.get("nodes_nodeids", []))
    modes = kept.get("nodes_modes", [])
    if trees is None or names is None or not len(trees) == len(names) == len(modes) == len(left):
        return False
    every = np.concatenate([trees, names, left, right])
    if not len(every) or every.min() < 0 or every.max() >= 1 << 31:
        return False
    split = np.asarray([mode != b"LEAF" for mode in modes])
    keys, (first, second) = trees << 31 | names, (trees << 31 | side for side in (left, right))
    first, second = first[split], second[split]
    same = first == second  # both sides of a node may be one
    children = np.concatenate([first, second[~same]])
    _, start = np.unique(trees, return_index=True)
    return nodes_once(keys, children) and not np.isin(keys[start], children).any()


def _local(model: Any) -> set[str]:
    return {function.domain for function in model.functions}


def _graphs(onnx: Any, model: Any) -> Iterator[Any]:
    """The graphs of a model: its own, and those inside of nodes."""
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            pending += _inner(onnx, node)
    for function in model.functions:
        for node in function.node:
            yield from _below(onnx, node)


def _below(onnx: Any, node: Any) -> Iterator[Any]:
    pending = _inner(onnx, node)
    while pending:
        graph = pending.pop()
        yield graph
        for one in graph.node:
            pending += _inner(onnx, one)


def _inner(onnx: Any, node: Any) -> list[Any]:
    found = []
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            found.append(attribute.g)
        found += attribute.graphs
    return found


def _nodes(onnx: Any, model: Any) -> Iterator[Any]:
    for graph in _graphs(onnx, model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _outside(onnx: Any, model: Any) -> Iterator[Any]:
    """The tensors of a model that are in other files."""
    for tensor in _tensors(onnx, model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
            yield tensor


def _place(tensor: Any) -> str:
    """The file in which a tensor is."""
    return next((str(one.value) for one in tensor.external_data if one.key == "location"), "unnamed")


def _tensors(onnx: Any, model: Any) -> Iterator[Any]:
    for graph in _graphs(onnx, model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(onnx, model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _dtype(declared: Any) -> Any:
    if declared.type not in _DTYPES:
        raise BadScores(f"the graph's input {declared.name} is of {declared.type}, which no feature is")
    return _DTYPES[declared.type]
