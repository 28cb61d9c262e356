"""The first project of a newcomer: a short file that they can read, over their own CSV or an example's."""

from __future__ import annotations

import json
import os
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from homeostat.domain.errors import BadRequest, Conflict, NotFound

if TYPE_CHECKING:
    import polars as pl

_SAMPLE: Final = 20_000
_MANY: Final = 50
_EXAMPLE: Final = "customers.csv"
_EXAMPLE_ROWS: Final = 2_000

_FILE: Final = '''\
"""Will `{question}` be true? Change anything, see what that means with `homeostat plan`, and apply it."""

{imports}

{rows} = hs.Dataset({name}, key={key}, {time}path={path})

{view}
def train(data: hs.TrainingSet, *, trees: int = 200) -> {returns}:
    """An ordinary function: `data.X` is a Polars frame of features, `data.y` an array of 0 and 1."""
{body}


{model} = hs.Model(
    {model_name},
    task=hs.Binary(label={label}, source={rows}),
{features}    train=train,
    gates=[hs.beats("baseline", "log_loss")],  # nothing is served that does not pass
)
'''
_FOREST: Final = "RandomForestClassifier(n_estimators=trees, min_samples_leaf=5, random_state=0)"
_ENCODED: Final = """\
    encode = make_column_transformer(
        (
            OneHotEncoder(handle_unknown="ignore", max_categories=20, sparse_output=False),
            {columns},
        ),
        remainder="passthrough",
    )
    forest = {forest}
    return make_pipeline(encode, forest).fit(data.X, data.y)"""
_VIEW: Final = '''
@hs.on_request
def given(rows: pl.LazyFrame) -> pl.LazyFrame:
    """What the model looks at, computed alike in training and in serving."""
    return rows.select({columns})

'''


@dataclass(frozen=True)
class Written:
    """The files that were written; ``data`` is None when the rows are the user's own."""

    file: Path
    data: Path | None


@dataclass
class _Columns:
    """What the columns of a CSV are good for."""

    time: str = ""
    useful: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def write(folder: Path, csv: Path | None, label: str, key: str) -> Written:
    """Write ``project.py`` into ``folder``, for ``csv`` or for an example's rows, which are written too.

    Raises:
        Conflict: there is a project already.
        NotFound: there is no such file.
        BadRequest: label or key are not given, or cannot be what they are said to be.
    """
    file = folder / "project.py"
    if file.exists():
        raise Conflict(
            f"{file} is there already",
            remedy="Change it as you like, or name another folder: homeostat init DIR",
        )
    data = None
    if csv is None:
        if label or key:
            raise BadRequest("--label and --key are columns of a file", remedy="Name it with --csv FILE")
        csv = data = folder / _EXAMPLE
        label, key = "churned", "customer"
        if not data.exists():
            folder.mkdir(parents=True, exist_ok=True)
            data.write_text(_example(), "utf-8")
    text = _project(csv, os.path.relpath(csv.absolute(), folder.absolute()), label, key)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return Written(file, data)


def _project(csv: Path, path: str, label: str, key: str) -> str:
    columns = _look(csv, label, key)
    imports, returns, view = (
        ["from sklearn.ensemble import RandomForestClassifier"],
        "RandomForestClassifier",
        "",
    )
    body = f"    forest = {_FOREST}\n    return forest.fit(data.X, data.y)"
    text = columns.text
    if columns.unused:
        imports.insert(0, "import polars as pl")
        view = _VIEW.format(columns=_quoted(columns.useful))
        text = [f"given__{name}" for name in text]
    if text:
        imports.insert(-1, "from sklearn.compose import make_column_transformer")
        imports.append("from sklearn.pipeline import Pipeline, make_pipeline")
        imports.append("from sklearn.preprocessing import OneHotEncoder")
        returns, body = "Pipeline", _ENCODED.format(columns=_quoted(text), forest=_FOREST)
    rows = _identifier(csv.stem)
    model = _identifier(label)
    return _FILE.format(
        question=label,
        label=_quoted(label),
        imports="\n".join([*imports, "", "import homeostat as hs"]),
        rows=rows,
        name=_quoted(_name(csv.stem)),
        key=_quoted(key),
        time=f"time={_quoted(columns.time)}, " if columns.time else "",
        path=_quoted(path),
        view=view,
        features="    features=[given],\n" if view else "",
        returns=returns,
        body=body,
        model=f"{model}_model" if model == rows else model,
        model_name=_quoted(_name(label)),
    )


def _look(csv: Path, label: str, key: str) -> _Columns:
    """What each column may be used for, from the first rows."""
    import polars as pl

    if not csv.is_file():
        raise NotFound(f"there is no file {csv}", remedy="Give a CSV with a header")
    try:
        rows = pl.read_csv(csv, n_rows=_SAMPLE, try_parse_dates=True)
    except pl.exceptions.PolarsError as error:
        raise BadRequest(f"{csv} cannot be read: {error}", remedy="Give a CSV with a header") from error
    listed = ", ".join(rows.columns)
    for flag, name, what in (("--label", label, "to predict"), ("--key", key, "that identifies a row")):
        if not name:
            raise BadRequest(
                f"which column of {csv} is the one {what}?", remedy=f"Give {flag}, one of {listed}"
            )
        if name not in rows.columns:
            raise BadRequest(f"{csv} has no column {name!r}", remedy=f"Give {flag}, one of {listed}")
    _check_label(rows[label])
    if rows[key].n_unique() < rows.height:
        raise BadRequest(
            f"column {key!r} does not identify a row: values repeat", remedy="Give another --key"
        )
    columns, many = _Columns(), max(_MANY, rows.height // 20)
    for series in rows.drop(label, key):
        name = series.name
        if series.dtype in (pl.Datetime, pl.Date) and not columns.time and not series.has_nulls():
            columns.time = name
        elif series.dtype.is_temporal() or (series.dtype == pl.String and series.n_unique() > many):
            columns.unused.append(name)
        else:
            columns.useful.append(name)
            if series.dtype == pl.String:
                columns.text.append(name)
    if not columns.useful:
        raise BadRequest(
            f"{csv} has no column to learn from", remedy="Give columns of numbers or of a few texts"
        )
    return columns


def _check_label(label: pl.Series) -> None:
    import polars as pl

    values = label.drop_nulls().unique().to_list()
    if label.dtype != pl.Boolean and not set(values) <= {0, 1}:
        shown = ", ".join(map(repr, values[:4]))
        raise BadRequest(
            f"label {label.name!r} holds {shown}", remedy="Write it as 0 and 1, or as true and false"
        )
    if len(values) < 2:
        raise BadRequest(f"label {label.name!r} is always the same", remedy="Give rows of both answers")


def _quoted(value: str | list[str]) -> str:
    """Python source for ``value``, in double quotes: JSON writes texts and lists of them alike."""
    return json.dumps(value, ensure_ascii=False)


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower() or "rows"


def _identifier(text: str) -> str:
    made = _name(text).replace("-", "_")
    return f"rows_{made}" if made[0].isdigit() or made in ("train", "hs", "data") else made


def _example() -> str:
    """Customers who stay or leave: short contracts and open tickets make them leave. The same at every call."""
    chance = random.Random(2013)
    lines = ["customer,months,monthly_fee,tickets,plan,churned"]
    for number in range(_EXAMPLE_ROWS):
        months, tickets = chance.randint(1, 60), chance.choice([0, 0, 0, 1, 1, 2, 3])
        plan = chance.choice(["basic", "plus", "family"])
        fee = round(chance.uniform(10, 20) * {"basic": 1, "plus": 1.6, "family": 2.2}[plan], 2)
        risk = 0.45 - 0.008 * months + 0.15 * tickets + (0.1 if plan == "basic" else 0)
        lines.append(f"C{number:05},{months},{fee},{tickets},{plan},{int(chance.random() < risk)}")
    return "\n".join(lines) + "\n"
