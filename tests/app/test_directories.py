"""MLflow model directories in and out: identical when they come back, and equal in what they answer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import numpy as np
import polars as pl
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from homeostat.app.container import Container
from homeostat.app.registry import directories, trees
from homeostat.app.registry.contents import whole_version
from homeostat.app.registry.reading import resolve
from homeostat.app.settings import Settings
from homeostat.domain.errors import BadRequest, NotFound, Unsafe
from homeostat.domain.records import ModelVersion
from homeostat.domain.tracking import ArtifactFile, RegisteredModel
from homeostat.engine.registry import package
from tests.app import mlflow_dirs
from tests.engine.registry.packing import X, Y, packed
from tests.mlflow.official import Client, Evaluator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the environment may have to be made
FRAME = X.fill_null(0)


@pytest.fixture(scope="module")
def mlflow(evaluator: Evaluator) -> Client:
    """MLflow, which has no server to ask."""
    return Client(evaluator, "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, mlflow: Client) -> Path:
    """Directories that MLflow wrote."""
    folder = tmp_path_factory.mktemp("saved")
    mlflow(mlflow_dirs.save, str(folder))
    return folder


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        yield made


def test_a_directory_comes_back_as_it_went_in(container: Container, saved: Path, tmp_path: Path) -> None:
    for folder in sorted(path for path in saved.iterdir() if path.is_dir()):
        files = trees.held({**trees.read_tree(folder), "empty/": b"", "sub/extra.bin": bytes(range(256))})
        tar = io.BytesIO()
        trees.to_tar(files, tar)
        made = directories.import_directory(container, folder.name, trees.from_tar(tar))
        assert made.stage == "registered"
        assert made.digest == package.digest(made.manifest)
        out = directories.export_files(container, folder.name, "1")
        trees.write_tree(out, tmp_path / folder.name)
        assert trees.read_tree(tmp_path / folder.name) == files
        again = directories.import_directory(container, folder.name, files)
        assert again.version == 1  # the same once more is no other version
    assert container.ledger.verify().ok


def test_an_imported_model_answers_as_mlflow_s_did(container: Container, saved: Path) -> None:
    said = json.loads((saved / "X.json").read_text())
    frame = pl.DataFrame(said["data"], schema=said["columns"], orient="row")
    answers = json.loads((saved / "answers.json").read_text())
    for name, wanted in answers.items():
        made = directories.import_directory(container, name, trees.read_tree(saved / name))
        if name == "pickled":
            with pytest.raises(Unsafe, match="is a pickle, which runs code"):
                package.load(container.blobs, made.manifest, expect=made.digest)
        trusted = ["pickle"] if name == "pickled" else []
        found = package.load(container.blobs, made.manifest, trusted, expect=made.digest)
        np.testing.assert_allclose(found.predict(frame), wanted, atol=1e-7)
        assert [column.name for column in found.signature.features] == ["a", "b", "c"]
        assert bool(found.example) is (name == "pipeline")


@pytest.mark.parametrize(
    "inputs",
    [
        '[{"name": "image", "type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 28, 28]}}]',
        '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]',
        '[{"name": "messages", "type": "array", "items": {"type": "object", "properties": {}}, "required": true}]',
        '[{"name": "blob", "type": "binary", "required": true}, {"name": "a", "type": "double", "required": true}]',
    ],
    ids=["tensor", "plain tensor", "array", "binary"],
)
def test_signatures_that_no_table_has_go_in_and_out_as_they_are(container: Container, inputs: str) -> None:
    text = f"flavors:\n  python_function: {{loader_module: mine}}\nsignature:\n  inputs: '{inputs}'\n"
    files = {"MLmodel": text.encode(), "data/weights.bin": b"\0"}
    directories.import_directory(container, "odd", trees.held(files))
    assert directories.export_files(container, "odd", "1") == files
    of = whole_version(container, "odd", "1").contents
    assert of is not None
    assert [one.name for one in of.features] == (["a"] if "binary" in inputs else [])
    shape = {"image": [-1, 28, 28]} if "image" in inputs else {"features": [-1, 4]}
    assert of.shapes == (shape if "tensor" in inputs else {"features": [-1, len(json.loads(inputs))]})


def test_types_that_the_directory_calls_trusted_are_not(container: Container, saved: Path) -> None:
    files = dict(trees.read_tree(saved / "pipeline"))
    text = (
        files["MLmodel"].decode().replace("skops_trusted_types: null", "skops_trusted_types: [builtins.eval]")
    )
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    model = skops.io.dumps(FunctionTransformer(eval))
    files |= {"MLmodel": text.encode(), "model.skops": model}
    made = directories.import_directory(container, "sly", trees.held(files))
    with pytest.raises(Unsafe, match=r"eval.*nobody allowed"):
        package.load(container.blobs, made.manifest)


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=5),
        RandomForestClassifier(5, random_state=0),
        xgboost.XGBClassifier(n_estimators=5),
        lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_version_of_ours_answers_the_same_in_mlflow(
    container: Container, model: Any, tmp_path: Path, mlflow: Client
) -> None:
    manifest = package.store(container.blobs, packed(model.fit(FRAME, Y)))
    wanted = package.load(container.blobs, manifest).predict(FRAME)
    _add(container, manifest)
    files = directories.export_files(container, "ours", "1")
    trees.write_tree(files, tmp_path / "out")
    rows = {"columns": FRAME.columns, "data": FRAME.rows()}
    for name, answer in mlflow(mlflow_dirs.load, str(tmp_path / "out"), rows).items():
        np.testing.assert_allclose(answer, wanted, atol=1e-7, err_msg=name)
    back = directories.import_directory(container, "back", files)
    found = package.load(container.blobs, back.manifest)
    np.testing.assert_allclose(found.predict(FRAME), wanted, atol=1e-7)
    assert found.signature == package.load(container.blobs, manifest).signature
    assert directories.export_files(container, "ours", "1", "package").keys() == manifest["files"].keys()


def _add(container: Container, manifest: Any) -> None:
    from homeostat.app.registry import models

    models.register(container, "ours")
    with container.store.begin() as tx:
        number = models.take_number(tx, container, "ours")
        tx.insert(
            ModelVersion(
                model="ours",
                version=number,
                digest=package.digest(manifest),
                manifest=manifest,
                run="",
                stage="candidate",
                created_at=container.clock.now(),
                updated_at=container.clock.now(),
            )
        )


def test_a_version_that_a_client_registered_goes_out_as_well(container: Container, saved: Path) -> None:
    first = directories.import_directory(container, "first", trees.read_tree(saved / "forest"))
    from homeostat.app.registry import models

    models.register(container, "second")
    with container.store.begin() as tx:
        models.take_number(tx, container, "second")
        tx.insert(msgspec.structs.replace(first, model="second", manifest={}, digest=""))
    assert directories.export_files(container, "second", "1") == trees.read_tree(saved / "forest")
    elsewhere = resolve(container.store, "second", "1").record
    with container.store.begin() as tx:
        tx.put(msgspec.structs.replace(elsewhere, source="s3://bucket/model"))
    with pytest.raises(NotFound, match="s3://bucket/model"):
        directories.export_files(container, "second", "1")


def test_an_altered_blob_never_leaves(container: Container, saved: Path, tmp_path: Path) -> None:
    made = directories.import_directory(container, "m", trees.read_tree(saved / "forest"))
    digest = made.manifest["files"]["model.skops"].removeprefix("sha256:")
    next((tmp_path / "home" / "blobs").rglob(digest)).write_bytes(b"other")
    with pytest.raises(
        NotFound, match=r"model.* of model/m@1 cannot be had: blob sha256:.* is torn or altered"
    ):
        trees.to_tar(directories.export_files(container, "m", str(made.version)), io.BytesIO())


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"model.pkl": b""}, BadRequest, "no MLmodel file"),
        ({"MLmodel": b"flavors: {", "a": b""}, Unsafe, "does not describe"),
        ({"MLmodel": b"[]"}, Unsafe, "does not describe"),
        ({"MLmodel": b"flavors: {}\nsignature: {inputs: '['}"}, Unsafe, "does not describe"),
        ({"MLmodel": b"!!python/object/apply:os.system ['true']"}, Unsafe, "does not describe"),
        ({"MLmodel": b"flavors: {sklearn: {pickled_model: m.skops}}"}, Unsafe, "names m.skops, which is not"),
        (
            {"MLmodel": b"flavors: {onnx: {data: ../m.onnx}}", "m.onnx": b""},
            Unsafe,
            r"names \.\./m\.onnx, which is not",
        ),
        ({"MLmodel": b"flavors: {xgboost: {data: [m.ubj]}}", "m.ubj": b""}, Unsafe, "which is not"),
        ({"MLmodel": b"flavors: {}", "../x": b""}, BadRequest, "upwards"),
        ({"MLmodel": b"flavors: {}", "a//b": b""}, BadRequest, "no path"),
    ],
)
def test_what_is_no_model_directory_is_refused(
    container: Container, files: dict[str, bytes], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        directories.import_directory(container, "m", trees.held(files))
    assert container.store.count(ModelVersion) == 0
    assert container.store.count(ArtifactFile) == 0
    assert container.store.count(RegisteredModel) == 0
