"""Reads the files of a table with pyarrow and with Spark, by nothing but a token for the store of the master keys."""

import json
import os
import sys

import cordon_transit

files, scratch, rows, with_spark = json.loads(sys.argv[1])
address, ca, token_file = (os.environ[name] for name in ("TEST_ADDRESS", "TEST_CA", "TEST_TOKEN_FILE"))

transit = cordon_transit.Transit(address, ca_file=ca)
table = cordon_transit.read_table(files, transit)
assert table.num_rows == rows, table.num_rows
codes = sorted(table.column("code").to_pylist())

if not with_spark:
    # All is said; pyarrow's threads may bring the interpreter down while it ends.
    sys.stdout.flush()
    os._exit(0)

from spark_session import spark_session

spark = spark_session(scratch)
assert spark.version.startswith("4.3"), spark.version
frame = spark.read.parquet(*files)
assert frame.count() == rows, frame.count()
assert sorted(row.code for row in frame.select("code").collect()) == codes
assert len({row.patient for row in frame.select("patient").collect()}) == len(set(table.column("patient").to_pylist()))
spark.stop()
