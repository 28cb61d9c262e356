"""Files of native formats that were torn, altered or made to harm are refused; none of them ends the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import xgboost

from homeostat.domain.errors import Unsafe
from homeostat.engine.registry import flavors
from homeostat.engine.registry.formats import graphs, lgbm, ubjson, xgb
from tests.engine.registry.packing import X, Y, loaded, packed
from tests.engine.registry.test_formats import linear_graph

Tree = dict[str, Any]
MODEL = xgboost.XGBClassifier(n_estimators=2, max_depth=2).fit(X, Y)
TEXT = (
    lightgbm.LGBMClassifier(n_estimators=2, num_leaves=4, min_child_samples=5, verbose=-1)
    .fit(X, Y)
    .booster_.model_to_string()
)


def deep(found: Any, *path: Any) -> Any:
    for step in path:
        found = found[step]
    return found


def setting(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        deep(found, *path[:-1])[path[-1]] = to

    return change


IN_TREE = ("learner", "gradient_booster", "model", "trees", 0)
IN_MODEL = ("learner", "gradient_booster", "model")


@pytest.mark.parametrize(
    "change",
    [
        setting(*IN_TREE, "left_children", 0, to=10**7),
        setting(*IN_TREE, "left_children", 0, to=-5),
        setting(*IN_TREE, "left_children", 0, to=0),
        setting(*IN_TREE, "right_children", 0, to=1),
        setting(*IN_TREE, "right_children", 0, to=0.5),
        setting(*IN_TREE, "split_indices", 0, to=10**8),
        setting(*IN_TREE, "split_indices", 0, to=-1),
        setting(*IN_TREE, "split_conditions", to=[0.5]),
        setting(*IN_TREE, "parents", 1, to=10**8),
        setting(*IN_TREE, "split_type", 0, to=1),
        setting(*IN_TREE, "split_type", 0, to=7),
        setting(*IN_TREE, "tree_param", "num_nodes", to="1000000"),
        setting(*IN_TREE, "tree_param", "size_leaf_vector", to="100000"),
        setting(*IN_TREE, "categories_nodes", to=[0]),
        setting(*IN_MODEL, "tree_info", to=[10**6, 0]),
        setting(*IN_MODEL, "iteration_indptr", to=[0, 100, 2]),
        setting(*IN_MODEL, "gbtree_model_param", "num_trees", to="500"),
        setting(*IN_MODEL, "cats", to={"enc": [], "feature_segments": [], "sorted_idx": [1]}),
        setting("learner", "learner_model_param", "num_feature", to="1"),
        setting("learner", "learner_model_param", "num_feature", to="much"),
        setting("learner", "gradient_booster", "name", to="gbforest"),
        setting("learner", "gradient_booster", to=[]),
        setting("learner", to={}),
    ],
)
def test_a_booster_of_xgboost_that_points_outside_itself_is_refused(change: Callable[[Any], None]) -> None:
    found = json.loads(MODEL.get_booster().save_raw("json"))
    xgb.restore(json.dumps(found).encode(), "XGBClassifier")
    change(found)
    files = packed(MODEL) | {xgb.FILE: json.dumps(found).encode()}
    with pytest.raises(Unsafe, match=r"model.ubj (holds|is no model)"):
        loaded(files)


def test_categories_of_xgboost_that_point_outside_are_refused() -> None:
    found = json.loads(MODEL.get_booster().save_raw("json"))
    tree = deep(found, *IN_TREE)
    tree |= {
        "categories_nodes": [0],
        "categories_segments": [0],
        "categories_sizes": [2],
        "categories": [1, 5],
    }
    tree["split_type"][0] = 1
    xgb.restore(json.dumps(found).encode(), "XGBClassifier")
    for change in ({"categories_sizes": [10**8]}, {"categories": [1, 2**40]}, {"categories_segments": [-1]}):
        deep(found, *IN_TREE[:-1])[0] = tree | change
        with pytest.raises(Unsafe, match="points outside itself"):
            xgb.restore(json.dumps(found).encode(), "XGBClassifier")


def test_a_key_that_stands_twice_is_refused_since_readers_differ_on_it() -> None:
    text = MODEL.get_booster().save_raw("json").decode()
    twice = text.replace('"name":"gbtree"', '"name":"gbtree","name":"gblinear"', 1)
    with pytest.raises(Unsafe, match="stands twice"):
        xgb.restore(twice.encode(), "XGBClassifier")
    with pytest.raises(ubjson.BadUbjson, match="twice"):
        ubjson.parse(b"{i\x01aTi\x01aF}")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"[i\x01U\xffI\x01\x00l\xff\xff\xff\xffL\x00\x00\x00\x00\x00\x00\x00\x02]", [1, 255, 256, -1, 2]),
        (b"[#i\x02TF", [True, False]),
        (b"[d\x3f\x80\x00\x00Si\x02\xc3\xa9CaZ]", [1.0, "é", "a", None]),
        (b"{i\x01a{}i\x01b[]}", {"a": {}, "b": []}),
    ],
)
def test_ubjson(data: bytes, value: Any) -> None:
    assert ubjson.parse(data) == value
    for end in range(len(data)):
        with pytest.raises(ubjson.BadUbjson):
            ubjson.parse(data[:end])
    with pytest.raises(ubjson.BadUbjson, match="follow"):
        ubjson.parse(data + b"Z")


def test_ubjson_says_what_it_cannot_read() -> None:
    assert ubjson.parse(b"[$d#i\x02\x3f\x80\x00\x00\x40\x00\x00\x00").tolist() == [1.0, 2.0]
    for data, message in [
        (b"Q", "no marker"),
        (b"[" * 100, "deep"),
        (b"[$S#i\x01", "no number's type"),
        (b"[$d#l\x7f\xff\xff\xff", "ends at"),
        (b"Sl\xff\xff\xff\xff", "ends at"),
        (b"Si\x01\xff", "UTF-8"),
        (b"S\xff", "no length"),
    ]:
        with pytest.raises(ubjson.BadUbjson, match=message):
            ubjson.parse(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("left_child=", "left_child=10000000 "),
        ("left_child=", "left_child=-9 "),
        ("right_child=", "right_child=0 "),
        ("split_feature=0", "split_feature=99"),
        ("split_feature=0", "split_feature=-1"),
        ("num_leaves=4", "num_leaves=4000000"),
        ("num_leaves=4", "num_leaves="),
        ("threshold=", "threshold=0.5 "),
        ("leaf_value=", "leaf_value=x"),
        ("decision_type=2", "decision_type=1"),
        ("num_cat=0", "num_cat=1"),
        ("is_linear=0", "is_linear=1"),
        ("max_feature_idx=2", "max_feature_idx=0"),
        ("num_class=1", "num_class=3"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0"),
        ("version=v4", "version=v9"),
        ("Tree=1", "Tree=7"),
        ("objective=binary", "objective=binary\nwhatever=1"),
        ("end of trees", ""),
        ("tree\n", "treat\n"),
    ],
)
def test_a_text_of_lightgbm_that_points_outside_itself_is_refused(old: str, new: str) -> None:
    lgbm.restore(TEXT.encode())
    assert old in TEXT
    files = packed(lightgbm.Booster(model_str=TEXT)) | {lgbm.FILE: TEXT.replace(old, new, 1).encode()}
    with pytest.raises(Unsafe, match=r"model.txt (holds|is no|has|ends)"):
        loaded(files)


def test_a_text_of_lightgbm_with_wrong_lengths_is_read_by_its_trees() -> None:
    # LightGBM ends the process where tree_sizes is wrong.
    start = TEXT.index("tree_sizes=")
    wrong = TEXT[:start] + "tree_sizes=7 9\n" + TEXT[TEXT.index("\n", start) + 1 :]
    wanted = lightgbm.Booster(model_str=TEXT).predict(X.to_numpy())
    np.testing.assert_array_equal(lgbm.restore(wrong.encode()).predict_proba(X), wanted)


def test_the_text_that_lightgbm_is_given_says_the_same() -> None:
    again = lgbm.sound(TEXT)
    assert again == lgbm.sound(again)
    trees = TEXT[TEXT.index("Tree=0") : TEXT.index("end of trees")]
    assert again[again.index("Tree=0") : again.index("end of trees")] == trees


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_torn_files_are_refused(share: float) -> None:
    for make, file in (
        (lambda: MODEL, xgb.FILE),
        (lambda: lightgbm.Booster(model_str=TEXT[: TEXT.index("feature_importances")]), lgbm.FILE),
        (linear_graph, graphs.FILE),
    ):
        files = packed(make())
        short = lgbm.sound(files[file].decode()).encode() if file == lgbm.FILE else files[file]
        with pytest.raises(Unsafe):
            loaded(files | {file: short[: int(len(short) * share)]})


def test_a_graph_that_names_other_files_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 64)
    graph = linear_graph()
    weights = graph.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=str(secret))
    with pytest.raises(Unsafe, match=rf"other files.*{secret}"):
        graphs.check(graph.SerializeToString())


def test_weights_in_other_files_of_a_directory_are_read_from_there_alone() -> None:
    """As ``mlflow.onnx.save_model`` writes them; a directory is all that is read, by the paths of its files."""
    rows = np.ones((4, 3), np.float32)
    graph = linear_graph()
    expected = graphs.OnnxModel(graph.SerializeToString()).predict_proba(rows)
    weights = graph.graph.initializer[0]
    data = b"before" + weights.raw_data
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL

    def restored(beside: dict[str, bytes], **places: object) -> Any:
        del weights.external_data[:]
        for key, value in places.items():
            weights.external_data.add(key=key, value=str(value))
        files = {
            "MLmodel": b"flavors: {onnx: {data: m/model.onnx}}",
            "m/model.onnx": graph.SerializeToString(),
        }
        return flavors.restore(files | beside, ())

    here = {"m/a.data": data}
    assert restored(here, location="a.data", offset=6).predict_proba(rows).tolist() == expected.tolist()
    for beside, places, told in (
        (here, {"location": "b.data"}, r"other files for its weights: b\.data"),
        ({"a.data": data}, {"location": "../a.data", "offset": 6}, r"other files.*\.\./a\.data"),
        (here, {"location": "a.data", "offset": 6, "length": len(data)}, "names bytes 6 to"),
        (here, {"location": "a.data", "offset": -6}, "names bytes -6 to"),
        (here, {"location": "a.data", "offset": "six"}, "does not say where"),
        (here, {"location": "a.data", "offset": 7}, "is no"),
        (here, {"offset": 6}, "other files for its weights: unnamed"),
    ):
        with pytest.raises(Unsafe, match=told):
            restored(beside, **places)


def test_a_graph_that_is_too_large_with_its_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = linear_graph()
    weights = graph.graph.initializer[0]
    data = weights.raw_data
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="a")
    alone = graph.SerializeToString()
    monkeypatch.setattr(graphs, "_LARGEST", len(alone) + len(data))
    assert len(graphs.gathered(alone, {"a": data})) <= len(alone) + len(data)
    with pytest.raises(Unsafe, match="more than"):
        graphs.gathered(alone, {"a": data + b"x"})


def test_a_graph_hides_nothing_in_inner_graphs_and_functions() -> None:
    from onnx import helper

    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    outside = [helper.make_tensor_value_info("c", 1, [1])]
    branch = helper.make_graph([constant], "inner", [], outside)
    graph = linear_graph()
    graph.graph.node.append(helper.make_node("If", ["yes"], ["c2"], then_branch=branch, else_branch=branch))
    with pytest.raises(Unsafe, match="/etc/passwd"):
        graphs.check(graph.SerializeToString())
    graph = linear_graph()
    opset = [helper.make_opsetid("", 17)]
    graph.functions.append(helper.make_function("own", "f", [], ["c"], [constant], opset))
    with pytest.raises(Unsafe, match="/etc/passwd"):
        graphs.check(graph.SerializeToString())


def test_operators_from_outside_onnx_are_refused() -> None:
    graph = linear_graph()
    graph.graph.node[0].domain = "com.example"
    with pytest.raises(Unsafe, match=r"com\.example"):
        graphs.check(graph.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["xgboost", "xgboost-json", "lightgbm", "onnx"])
def test_random_damage_is_refused_or_harmless(form: str) -> None:
    command = [sys.executable, "-m", "tests.engine.registry.mutating", form, "2013", "120"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    refused, _ = map(int, done.stdout.split()[-2:])
    assert refused > 40
