"""Tables of other libraries: in by the Arrow PyCapsule interface, and out as what came in."""

from __future__ import annotations

from typing import Any


def _library(data: Any) -> str:
    return type(data).__module__.split(".")[0]


def take(data: Any) -> Any:
    """Something that gives the rows by ``__arrow_c_stream__`` or ``__arrow_c_array__``."""
    library, kind = _library(data), type(data).__name__
    if library == "pandas" and kind == "DataFrame":
        import pyarrow

        return pyarrow.Table.from_pandas(data, preserve_index=False)
    if library == "polars" and kind == "LazyFrame":
        return data.collect()
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return data
    if library == "pyspark":
        raise TypeError("use cordon.spark.deidentify for a Spark DataFrame: this would bring all rows here in clear")
    raise TypeError(f"{library}.{kind} gives no rows by the Arrow interface; make it a pyarrow Table")


def give(rows: Any, data: Any) -> Any:
    """The rows as a table of the library that ``data`` is of."""
    library = _library(data)
    if library == "pandas":
        return rows.to_pandas()
    if library == "polars":
        import polars

        return polars.from_arrow(rows)
    return rows
