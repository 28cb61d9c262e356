"""Messages of TensorBoard and W&B: of their protocols only the fields that are read here. protobuf is an extra.

Fields that are not named are passed over, as are those that newer versions add.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from homeostat.adapters.messages import classes

_TENSORBOARD: Final = {
    "Event": "1 double wall_time, 2 int64 step, 4 bytes graph_def, 5 Summary summary",
    "Summary": "1 Value* value",
    "Value": (
        "1 string tag, 2 float simple_value, 4 Image image, 5 Histogram histo, 6 Audio audio, 8 Tensor tensor,"
        " 9 Metadata metadata"
    ),
    "Image": "1 int32 height, 2 int32 width, 4 bytes encoded",
    "Histogram": "1 double min, 2 double max, 3 double num, 4 double sum, 6 double* bucket_limit, 7 double* bucket",
    "Audio": "1 float rate, 4 bytes encoded",
    "Metadata": "1 Plugin plugin_data",
    "Plugin": "1 string plugin_name, 2 bytes content",
    "Tensor": (
        "1 int32 dtype, 4 bytes tensor_content, 5 float* float_val, 6 double* double_val, 7 int32* int_val,"
        " 8 bytes* string_val, 10 int64* int64_val, 11 bool* bool_val"
    ),
    "Hparams": "3 Started started, 4 Ended ended",
    "Started": "1 Hparam* hparams, 4 string group_name, 5 double start_time_secs",
    "Hparam": "1 string key, 2 Any value",
    "Any": "2 double number_value, 3 string string_value, 4 bool bool_value",
    "Ended": "1 int32 status, 2 double end_time_secs",
}
_WANDB: Final = {
    "Record": (
        "2 History history, 3 Changes summary, 5 Changes config, 7 Stats stats, 12 Metric metric, 17 Run run,"
        " 18 Exit exit, 26 Environment environment"
    ),
    "History": "1 Entry* item, 2 Step step",
    "Step": "1 int64 num",
    "Entry": (
        "1 string key, 2 string* nested_key, 4 bool boolean, 5 sint64 integer, 6 double number, 7 string text,"
        " 8 string json, 16 string value_json"
    ),
    "Changes": "1 Entry* update, 2 Entry* remove",
    "Stats": "2 Time timestamp, 3 Entry* item",
    "Time": "1 int64 seconds, 2 int32 nanos",
    "Run": (
        "1 string run_id, 2 string entity, 3 string project, 4 Changes config, 5 Changes summary, 6 string run_group,"
        " 7 string job_type, 8 string display_name, 9 string notes, 10 string* tags, 12 string sweep_id,"
        " 13 string host, 17 Time start_time, 21 Git git"
    ),
    "Git": "1 string remote_url, 2 string commit",
    "Metric": "1 string name, 2 string glob_name, 4 string step_metric",
    "Exit": "1 int32 exit_code",
    "Environment": "2 string python, 6 string program, 9 Git git, 13 string username",
}


def tensorboard(name: str) -> Any:
    """The class of a TensorBoard message."""
    return _classes("tensorboard")[name]


def wandb(name: str) -> Any:
    """The class of a W&B message."""
    return _classes("wandb")[name]


def parsed(kind: Any, data: bytes) -> Any | None:
    """A message of a class; None where the bytes are none."""
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(data)
    except DecodeError:
        return None


@cache
def _classes(package: str) -> dict[str, Any]:
    table = {"tensorboard": _TENSORBOARD, "wandb": _WANDB}[package]
    return classes(package, table, syntax="proto2", what=f"reading files of {package}", extra="import")
