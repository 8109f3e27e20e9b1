"""Functions of the tests, shipped to the executors."""

import hashlib
import os
import struct
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


def keyed(keys, batches):
    """For each row one for every partition, under the key that leads there."""
    keys = struct.unpack(f"<{len(keys) // 4}i", keys)
    for batch in batches:
        for id in batch.column(0).to_pylist():
            columns = [pyarrow.array(keys, pyarrow.int32()), pyarrow.array(range(len(keys)), pyarrow.int64()), pyarrow.array([id] * len(keys), pyarrow.int64())]
            yield pyarrow.RecordBatch.from_arrays(columns, ["key", "wanted", "id"])


def where(batches):
    """Where rows were wanted, and where they are."""
    for batch in batches:
        here = pyarrow.array([TaskContext.get().partitionId()] * batch.num_rows, pyarrow.int64())
        yield pyarrow.RecordBatch.from_arrays([batch.column(1), here], ["wanted", "partition"])


def slow(tenths, batches):
    for batch in batches:
        time.sleep(tenths / 10)
        yield batch


def fails(batches):
    for batch in batches:
        raise ValueError(f"Zebediah-Quux {batch.column(0)}")
    yield from ()
