"""A package of ours as an MLflow model directory.

It gets a flavor that MLflow loads by itself, such that ``mlflow.pyfunc`` answers with probabilities, as the package
does. What MLflow has no place for stands in the folder ``homeostat``, where ``package.load`` finds it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from homeostat.domain.contracts import Column
from homeostat.domain.errors import Conflict
from homeostat.engine.registry.flavors import MLMODEL, OWN
from homeostat.engine.registry.formats import (
    DETAILS,
    MODEL_FILES,
    graphs,
    lgbm,
    pickles,
    scikit,
    tensors,
    xgb,
)
from homeostat.engine.registry.formats.base import Files, need
from homeostat.engine.registry.package import ENVIRONMENT, FEATURES, SIGNATURE, Signature
from homeostat.engine.registry.scores import method

CODE: Final = "code"
ARTIFACT_PATH: Final = "model"
_ENVIRONMENT: Final = "conda.yaml"
_PYTHON: Final = "python_env.yaml"
_REQUIREMENTS: Final = "requirements.txt"
_EXAMPLE: Final = "input_example.json"
_SERVED: Final = "serving_input_example.json"
# What each flavor imports; the versions are those of the training.
_NEEDS: Final = {
    "sklearn": ("scikit-learn", "skops", "scipy"),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "lightgbm": ("lightgbm",),
    "onnx": ("onnx", "onnxruntime"),
}
# What pyfunc answers with for a binary task: a column for each class, or the probability of the positive one.
_OUTPUTS: Final[dict[str, tuple[str, list[int]]]] = {
    "sklearn": ("float64", [-1, 2]),
    "xgboost": ("float32", [-1]),
    "lightgbm": ("float64", [-1]),
}
_ALWAYS: Final = ("numpy", "pandas", "polars")


def mlflow_files(
    files: Mapping[str, bytes], *, digest: str, created: datetime, code: Mapping[str, str], run: str = ""
) -> Files:
    """The files of the directory.

    Args:
        files: Those of the package.
        digest: The package's digest, kept as metadata.
        created: When the model was made.
        code: The project's files, of which the model may need some to load.
        run: The id of the run that made it.

    Raises:
        Conflict: MLflow has no flavor for such a model.
        NotInstalled: the library of the model's format is missing.
    """
    model = next(name for name in MODEL_FILES if name in files)
    flavor, said, made = _flavor(model, files)
    own = {OWN + name: data for name, data in files.items() if name != model}
    brought = _code(said, code)
    environment = files[ENVIRONMENT].decode("utf-8", "replace")
    python = next(iter(re.findall(r"^# python (\S+)", environment)), "")
    needs = _requirements(environment, flavor)
    where = said.get("pickled_model") or said["data"]
    function: dict[str, Any] = {
        "env": {"conda": _ENVIRONMENT, "virtualenv": _PYTHON},
        "loader_module": f"mlflow.{flavor}",
        "python_version": python,
    }
    signature = msgspec.json.decode(files[SIGNATURE], type=Signature)
    asked = method(signature.task)
    function |= {"model_path": where, "predict_fn": asked} if flavor == "sklearn" else {"data": where}
    if brought:
        function["code"] = CODE
    described = {
        "flavors": {flavor: said | {"code": CODE if brought else None}, "python_function": function},
        "metadata": {"homeostat": {"digest": digest}},
        "model_uuid": digest.partition(":")[2][:32],
        "signature": {
            "inputs": _inputs(signature),
            "outputs": _outputs(flavor, signature),
        },
        "utc_time_created": created.replace(tzinfo=None).isoformat(" "),
    }
    if run:
        described |= {"run_id": run, "artifact_path": ARTIFACT_PATH}
    example = _example(files)
    if example:
        described["saved_input_example_info"] = {
            "artifact_path": _EXAMPLE,
            "pandas_orient": "split",
            "serving_input_path": _SERVED,
            "type": "dataframe",
        }
    conda = ["pip", {"pip": needs}]
    return {
        MLMODEL: _yaml(described),
        where: made,
        _REQUIREMENTS: "\n".join(needs).encode(),
        _ENVIRONMENT: _yaml(
            {
                "name": "mlflow-env",
                "channels": ["conda-forge"],
                "dependencies": [*([f"python={python}"] if python else []), *conda],
            }
        ),
        _PYTHON: _yaml({"python": python, "dependencies": [f"-r {_REQUIREMENTS}"]}),
        **example,
        **brought,
        **own,
    }


def _flavor(model: str, files: Mapping[str, bytes]) -> tuple[str, dict[str, Any], bytes]:
    """The flavor of a model, what is said of it, and its file."""
    data = files[model]
    if model == scikit.FILE:
        import skops.io

        types: list[str] = skops.io.get_untrusted_types(data=data)
        said = {"pickled_model": model, "serialization_format": "skops", "skops_trusted_types": types}
        return "sklearn", said, data
    if model == pickles.FILE:
        return "sklearn", {"pickled_model": model, "serialization_format": "pickle"}, data
    if model == xgb.FILE:
        said = {"data": model, "model_class": "xgboost.core.Booster", "model_format": "ubj"}
        return "xgboost", said, _rounds(files)
    if model == lgbm.FILE:
        return "lightgbm", {"data": model, "model_class": "lightgbm.basic.Booster"}, data
    if model == graphs.FILE:
        return "onnx", {"data": model, "providers": ["CPUExecutionProvider"]}, data
    raise Conflict(
        f"MLflow has no flavor for {tensors.FILE}, which a class of the project reads",
        remedy="Export it as it is, with --layout package",
    )


def _rounds(files: Mapping[str, bytes]) -> bytes:
    """A booster of as many rounds as its classifier asks: a booster by itself always asks all."""
    kept = msgspec.json.decode(files[DETAILS], type=xgb.Details)
    if kept.missing is not None:
        raise Conflict(
            f"the model takes {kept.missing:g} as missing, which MLflow's flavor of XGBoost cannot say",
            remedy="Train with NaN as missing, or export it as it is, with --layout package",
        )
    xgboost = need("xgboost", "xgboost", xgb.FILE)
    xgb.check(files[xgb.FILE])
    booster = xgboost.Booster()
    booster.load_model(bytearray(files[xgb.FILE]))
    best = booster.attr("best_iteration")
    if kept.kind == "Booster" or best is None:
        return files[xgb.FILE]
    return bytes(booster[: int(best) + 1].save_raw("ubj"))


def _code(said: dict[str, Any], code: Mapping[str, str]) -> Files:
    """The project's files, where a type of the model is defined in one of them."""
    modules = {name.removesuffix(".py").split("/")[0] for name in code if name.endswith(".py")}
    types = said.get("skops_trusted_types") or []
    wanted = said.get("serialization_format") == "pickle" or any(t.split(".")[0] in modules for t in types)
    if not wanted:
        return {}
    return {f"{CODE}/{name}": text.encode() for name, text in code.items() if name.endswith(".py")}


def _requirements(environment: str, flavor: str) -> list[str]:
    wanted = {*_ALWAYS, *_NEEDS[flavor]}
    pinned = [line for line in environment.splitlines() if line.partition("==")[0] in wanted]
    return ["mlflow", *pinned]


def _example(files: Mapping[str, bytes]) -> Files:
    """The features of the package's example, as MLflow keeps one; none in older packages."""
    if FEATURES not in files:
        return {}
    row = msgspec.json.decode(files[FEATURES], type=dict[str, Any])
    frame = {"columns": list(row), "data": [list(row.values())]}
    return {
        _EXAMPLE: msgspec.json.encode(frame),
        _SERVED: msgspec.json.encode({"dataframe_split": frame}),
    }


def _outputs(flavor: str, signature: Signature) -> str | None:
    if flavor not in _OUTPUTS:
        return None
    dtype, shape = _OUTPUTS[flavor]
    if signature.task == "regression":
        shape = [-1]
    elif signature.classes:
        shape = [-1, len(signature.classes)]
    return msgspec.json.encode([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}]).decode()


def _inputs(signature: Signature) -> str:
    return msgspec.json.encode([_input(column) for column in signature.features]).decode()


def _input(column: Column) -> dict[str, Any]:
    kinds = {
        "float": "double",
        "integer": "long",
        "boolean": "boolean",
        "string": "string",
        "datetime": "datetime",
    }
    # In pandas a whole number or a truth that may be missing is a float.
    loose = column.nullable and column.type in ("integer", "boolean")
    return {"type": "double" if loose else kinds[column.type], "name": column.name, "required": True}


def _yaml(value: Any) -> bytes:
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(value, Dumper=dumper, default_flow_style=False, allow_unicode=True)).encode()
