"""Files of registered versions are whoever's who registered them: whatever they hold, the version can be shown."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from homeostat.app import tracking
from homeostat.app.artifacts import write
from homeostat.app.container import Container
from homeostat.app.logged_models import create_logged_model, logged_model_data
from homeostat.app.registry import models, versions
from homeostat.app.registry.comparing import compare
from homeostat.app.registry.contents import whole_version
from homeostat.app.registry.directories import import_directory
from homeostat.app.registry.trees import held
from homeostat.app.settings import Settings
from homeostat.domain.errors import Unsafe
from homeostat.engine.registry import flavors

LINES = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
LINES += [
    f"{name}: &{name} [{', '.join([f'*{of}'] * 10)}]" for of, name in zip("abcdef", "bcdefg", strict=True)
]
UNFOLDING = "\n".join([*LINES, "flavors: {x: *g}"]).encode()
MERGING = b"a: &a {b: 1}\nflavors: {x: {<<: [*a, *a]}}\n"


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with Container(Settings(home=tmp_path / "home")) as made:
        models.register(made, "m")
        yield made


def version(container: Container, files: Mapping[str, bytes]) -> str:
    run = tracking.create_run(container, 0).id
    for name, data in files.items():
        write(container, f"0/{run}/artifacts/model/{name}", data)
    source = f"mlflow-artifacts:/0/{run}/artifacts/model"
    return str(versions.create(container, "m", source, run=run).record.version)


@pytest.mark.parametrize(
    "files",
    [
        {"signature.json": b'{"inputs": 1}'},
        {"signature.json": b"\xff"},
        {"homeostat/signature.json": b"[" * 100_000},
        {"MLmodel": b"flavors: {sklearn: &x [*x]}\n"},
        {"MLmodel": UNFOLDING},
        {"MLmodel": MERGING},
        {"MLmodel": b"flavors: " + b"[" * 100_000},
        {"MLmodel": b"- 1\n"},
        {
            "MLmodel": b"flavors: {x: {}}\nsaved_input_example_info: {artifact_path: e.json}\n",
            "e.json": b"[" * 100_000,
        },
    ],
)
def test_a_version_is_shown_and_compared_whatever_its_files_hold(
    container: Container, files: Mapping[str, bytes]
) -> None:
    odd, plain = version(container, files), version(container, {"MLmodel": b"flavors: {x: {}}\n"})
    assert whole_version(container, "m", odd).record.version == int(odd)
    found = compare(container, f"model/m@{odd}", f"model/m@{plain}")
    assert found.old == f"model/m@{odd}"


@pytest.mark.parametrize("data", [UNFOLDING, MERGING, b"flavors: {x: &x [*x]}\n", b"a: " + b"[" * 100_000])
def test_what_unfolds_without_end_describes_no_model(data: bytes) -> None:
    with pytest.raises(Unsafe):
        flavors.describe({"MLmodel": data})


def test_a_value_may_have_two_places(container: Container) -> None:
    said = flavors.describe({"MLmodel": b"flavors: {x: {a: &a [1, 2], b: *a}}\n"})
    assert said.flavors == {"x": {"a": [1, 2], "b": [1, 2]}}


@pytest.mark.parametrize("tag", ["garbage", '{"name": 1}', "[" * 5000])
def test_a_logged_model_whose_versions_somebody_wrote_over_is_registered(
    container: Container, tag: str
) -> None:
    model = create_logged_model(container, 0, tags={"mlflow.modelVersions": tag})
    versions.create(container, "m", f"models:/{model.id}", logged_model=model.id)
    told = logged_model_data(container, [model.id])[model.id].tags["mlflow.modelVersions"]
    assert '"name": "m"' in told


def test_of_a_file_of_any_size_no_more_is_read_than_is_shown(container: Container) -> None:
    described = b"flavors: {x: {}}\nsaved_input_example_info: {artifact_path: large.json}\n"
    large = b"polars==1.2.3\n" + b"#" * (10 * flavors.LARGEST)
    made = import_directory(
        container, "m", held({"MLmodel": described, "large.json": large, "requirements.txt": large})
    )
    tracemalloc.start()
    shown = whole_version(container, "m", str(made.version))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shown.contents.environment == {}
    assert shown.contents.example == {}
    assert most < 4 * flavors.LARGEST
