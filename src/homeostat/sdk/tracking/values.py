"""Values that are no numbers: what of any library can be kept, and as what.

Each is made before ``log`` returns, so that the caller may change its arrays.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

from homeostat.domain.errors import BadRequest
from homeostat.sdk.tracking.media import Image
from homeostat.sdk.tracking.told import Told, Value, plain

_ROWS: Final = 100  # of a table that its JSON shows
_FRAMES: Final = {
    ("polars", "DataFrame"),
    ("polars", "LazyFrame"),
    ("pandas", "DataFrame"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
}


@dataclass(frozen=True)
class Text:
    """A text, shown as it is or as Markdown."""

    text: str
    markdown: bool = False

    def told(self) -> Told:
        """In the JSON itself."""
        return Told("text", {"text": self.text, "markdown": self.markdown})


@dataclass(frozen=True, eq=False)
class Table:
    """Rows and columns: a frame of Polars, pandas or Arrow, or a sequence of mappings."""

    data: Any

    def told(self) -> Told:
        """As Parquet, with the first rows in the JSON."""
        import polars as pl

        try:
            made = self.data.collect() if isinstance(self.data, pl.LazyFrame) else self.data
            frame = made if isinstance(made, pl.DataFrame) else pl.DataFrame(made, infer_schema_length=None)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise BadRequest(
                f"this makes no table: {error}", remedy="Give a frame or a list of mappings"
            ) from error
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        columns = [{"name": name, "type": str(kind)} for name, kind in frame.schema.items()]
        shown = [[plain(cell) for cell in row] for row in frame.head(_ROWS).rows()]
        return Told(
            "table", {"columns": columns, "rows": frame.height, "first": shown}, ".parquet", buffer.getvalue()
        )


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure of matplotlib or plotly."""

    figure: Any

    def told(self) -> Told:
        """As PNG, or as plotly's JSON."""
        if type(self.figure).__module__.startswith("plotly."):
            return Told("plotly", {}, ".plotly.json", self.figure.to_json().encode())
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", bbox_inches="tight")
        return Told("image", {"caption": ""}, ".png", buffer.getvalue())


def value_of(thing: Any) -> Value | None:
    """What can tell itself for a thing of any library; None for what nobody knows."""
    if hasattr(thing, "told"):
        found: Value = thing
        return found
    if isinstance(thing, str):
        return Text(thing)
    module, kind = type(thing).__module__.partition(".")[0], type(thing).__name__
    if module in ("matplotlib", "plotly") and kind in ("Figure", "FigureWidget"):
        return Figure(thing)
    if module == "PIL":
        return Image(thing)
    if (module, kind) in _FRAMES:
        return Table(thing)
    return None
