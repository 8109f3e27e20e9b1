"""Functions of the tests, shipped to the executors."""

import hashlib
import os
import time

import pyarrow
from pyspark import SparkFiles, TaskContext


def seen(text, raw, number, batches):
    """What a function sees of its arguments, its partition and the file that was shipped."""
    path = SparkFiles.get("cordon")
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    for batch in batches:
        rows = batch.num_rows
        yield pyarrow.RecordBatch.from_pydict(
            {
                "id": batch.column(0),
                "names": [",".join(batch.schema.names)] * rows,
                "partition": pyarrow.array([TaskContext.get().partitionId()] * rows, pyarrow.int64()),
                "told": [f"{text}|{raw.hex()}|{number}"] * rows,
                "digest": [digest] * rows,
                "file": [f"{path} {os.stat(path).st_mode & 0o777:o} {__file__} {os.getcwd()}"] * rows,
            }
        )


def same(batches):
    yield from batches


def slow(tenths, batches):
    for batch in batches:
        time.sleep(tenths / 10)
        yield batch


def fails(batches):
    for batch in batches:
        raise ValueError(f"Zebediah-Quux {batch.column(0)}")
    yield from ()
