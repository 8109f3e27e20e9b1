"""Reads the files of a table with pyarrow and with Spark, by nothing but a token for the store of the master keys."""

import json
import os
import subprocess
import sys

import cordon_transit

files, classes, rows, with_spark = json.loads(sys.argv[1])
address, ca, token_file = (os.environ[name] for name in ("TEST_ADDRESS", "TEST_CA", "TEST_TOKEN_FILE"))

transit = cordon_transit.Transit(address, ca_file=ca)
table = cordon_transit.read_table(files, transit)
assert table.num_rows == rows, table.num_rows
codes = sorted(table.column("code").to_pylist())

if not with_spark:
    raise SystemExit(0)

import pyspark
from pyspark.sql import SparkSession

jars = os.path.join(os.path.dirname(pyspark.__file__), "jars")
source = os.path.join(os.environ["CORDON_INTEROP"], "java/cordon/interop/TransitKmsClient.java")
subprocess.run(["javac", "-cp", f"{jars}/*", "-d", classes, source], check=True)
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
builder = builder.config("spark.driver.extraClassPath", classes).config("spark.sql.shuffle.partitions", "1")
builder = builder.config("spark.sql.warehouse.dir", f"{classes}/warehouse")
for name, value in {
    "parquet.crypto.factory.class": "org.apache.parquet.crypto.keytools.PropertiesDrivenCryptoFactory",
    "parquet.encryption.kms.client.class": "cordon.interop.TransitKmsClient",
    "cordon.kms.address": address,
    "cordon.kms.ca.file": ca,
    "cordon.kms.token.file": token_file,
}.items():
    builder = builder.config(f"spark.hadoop.{name}", value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
assert spark.version.startswith("4.3"), spark.version
frame = spark.read.parquet(*files)
assert frame.count() == rows, frame.count()
assert sorted(row.code for row in frame.select("code").collect()) == codes
assert len({row.patient for row in frame.select("patient").collect()}) == len(set(table.column("patient").to_pylist()))
spark.stop()
