"""The same recipe on Apache Spark.

>>> import cordon.spark
>>> safe = cordon.spark.deidentify(patients, "clinic/policies/safe-harbor.yaml", "patients")
>>> safe.write.parquet("/lake/patients")

Works with classic and Connect sessions, in batch and in Structured Streaming. Executors need this package and the project's folder with
its key ring (at the same path, or where their environment variable ``CORDON_PROJECT`` says), and their own way to the store that keeps
the root key; see docs/python.md. No key is in the plan, nor any value.
"""

from __future__ import annotations

import functools
from typing import Any, Iterator, Literal

from . import PolicyError, Project, Recipe, _cordon, compile as _compile

__all__ = ["deidentify", "register_view"]


def deidentify(
    df: Any,
    policy: Any,
    dataset: str | None = None,
    *,
    project: Any = None,
    recipient: str | None = None,
    identities: Any = None,
    run_date: Any = None,
    failures: Literal["fail", "keep"] = "fail",
) -> Any:
    """A Spark DataFrame of the rows of ``df``, de-identified; lazy as all of Spark's are.

    ``policy`` is the path of a policy, or a :class:`cordon.Recipe`. The other arguments are those of :func:`cordon.compile`. That the
    cluster is to do it is put on the project's record at once.

    A row that a rule cannot handle fails the job by ``failures="fail"``. By ``"keep"`` it stays, with nothing in it but the reason in
    the column ``cordon_failure``, which is NULL for all others: as many rows go out as came in.

    :raises PolicyError: the policy is not valid, or the columns do not fit what it declares.
    :raises KeysError: the project's keys or record cannot be had here.
    """
    from pyspark.sql.pandas.types import to_arrow_schema
    from pyspark.sql.types import StringType, StructField

    if failures not in ("fail", "keep"):
        raise ValueError('failures is "fail" or "keep"')
    if isinstance(policy, Recipe):
        if (project, recipient, identities, run_date) != (None, None, None, None):
            raise ValueError("a recipe has its project, recipient, identities and date already")
        recipe = policy
    else:
        recipe = _compile(policy, project=project, recipient=recipient, identities=identities, run_date=run_date)
    of = recipe._dataset(dataset)
    # What no rule reads does not leave the JVM.
    columns = to_arrow_schema(df.schema)
    needed = recipe._native.needed(of, columns)
    if not needed:
        raise PolicyError("no rule of the dataset reads any column of the rows")
    schema = _spark_schema(recipe.schema(of))
    if failures == "keep":
        schema = schema.add(StructField("cordon_failure", StringType(), True))
    opened: Project = recipe.project
    handle = recipe._native.handle(
        of, columns, opened._native, recipe._recipient, failures == "keep"
    )
    opened._native.record_cluster(recipe._native, of, recipe._recipient)
    wanted = [df["`" + name.replace("`", "``") + "`"] for name in needed]
    return df.select(*wanted).mapInArrow(functools.partial(_apply, handle), schema)


def register_view(spark: Any, name: str, df: Any, policy: Any, dataset: str | None = None, **options: Any) -> Any:
    """Makes the de-identified rows of ``df`` a temporary view for SQL: ``spark.sql("select … from NAME")``."""
    safe = deidentify(df, policy, dataset, **options)
    safe.createOrReplaceTempView(name)
    return spark.table(name)


def _apply(handle: bytes, batches: Iterator[Any]) -> Iterator[Any]:
    """On an executor."""
    return _cordon.apply_to_batches(handle, batches)


def _spark_schema(schema: Any) -> Any:
    from pyspark.sql.pandas.types import from_arrow_type
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(field.name, from_arrow_type(field.type), True) for field in schema])
