"""Reads files of ours with Spark, pyarrow and DuckDB through a transit engine, and writes some for us to read."""

import glob
import json
import os
import subprocess
import sys

import cordon_transit
import duckdb
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

todo = json.loads(sys.argv[1])
address, ca, token_file = (os.environ[name] for name in ("TEST_ADDRESS", "TEST_CA", "TEST_TOKEN_FILE"))
transit = cordon_transit.Transit(address, ca_file=ca)


def check(table, what):
    assert table.num_rows == 500, (what, table.num_rows)
    names = sorted(table.column("name").to_pylist())
    assert len(set(names)) == 500 and all("-" in name for name in names), what
    assert sum(table.column("age").to_pylist()) == sum(20 + i % 60 for i in range(500)), what
    assert table.column("visits").null_count == 50, what


for form in ("inside", "outside", "uniform"):
    if todo[form]:
        tables = cordon_transit.read_table(todo[form], transit)
        check(tables, form)
        try:
            pq.read_table(todo[form][0])
        except Exception:
            pass
        else:
            raise SystemExit("read without keys")
        wrong = cordon_transit.Transit(address, token="s.wrong", ca_file=ca)
        try:
            cordon_transit.read_table(todo[form], wrong)
        except Exception as error:
            assert "s.wrong" not in str(error)
        else:
            raise SystemExit("read with a wrong token")

if not todo["spark"]:
    raise SystemExit(0)

for number, file in enumerate(todo["uniform"]):
    duckdb.sql(f"PRAGMA add_parquet_key('key{number}', '{cordon_transit.duckdb_key(file, transit)}')")
rows = sum(
    duckdb.sql(f"SELECT count(name) FROM read_parquet('{file}', encryption_config={{footer_key: 'key{number}'}})").fetchall()[0][0]
    for number, file in enumerate(todo["uniform"])
)
assert rows == 500, rows

# pyarrow writes.
os.makedirs(f"{todo['out']}/pyarrow")
table = cordon_transit.read_table(todo["inside"], transit)
columns = {"cordon-direct": ["Id", "name"], "cordon-quasi": ["GENDER", "birth", "age"], "cordon-clinical": ["cost", "visits"]}
for name, double, bits, internal in [("a", True, 256, True), ("b", False, 128, True), ("c", True, 128, False)]:
    config = pe.EncryptionConfiguration(
        footer_key="cordon-footer", column_keys=columns, encryption_algorithm="AES_GCM_V1", double_wrapping=double,
        data_key_length_bits=bits, internal_key_material=internal, plaintext_footer=False,
    )
    path = f"{todo['out']}/pyarrow/{name}.parquet"
    where = {} if internal else {"parquet_file_path": path}
    keys = cordon_transit.crypto_factory(transit).file_encryption_properties(pe.KmsConnectionConfig(), config, **where)
    with pq.ParquetWriter(path, table.schema, encryption_properties=keys) as writer:
        writer.write_table(table)
    check(cordon_transit.read_table([path], transit), name)

# Spark reads and writes.
from spark_session import spark_session

spark = spark_session(todo["out"])
for form in ("inside", "outside", "uniform"):
    frame = spark.read.parquet(*todo[form])
    frame.createOrReplaceTempView("patients")
    found = spark.sql("SELECT count(DISTINCT name), sum(age), count(visits), sum(cost) FROM patients").first()
    assert tuple(found) == (500, sum(20 + i % 60 for i in range(500)), 450, sum(i * 1.5 for i in range(500))), (form, found)
frame = spark.read.parquet(*todo["inside"]).coalesce(1)
for name, bits, internal, double in [("a", 256, True, True), ("b", 128, False, True), ("c", 128, True, False)]:
    out = f"{todo['out']}/spark/{name}"
    writer = frame.write.option("parquet.encryption.footer.key", "cordon-footer")
    writer = writer.option("parquet.encryption.column.keys", ";".join(f"{key}:{','.join(of)}" for key, of in columns.items()))
    writer = writer.option("parquet.encryption.data.key.length.bits", bits).option("parquet.encryption.double.wrapping", double)
    writer.option("parquet.encryption.key.material.store.internally", internal).parquet(out)
    assert spark.read.parquet(out).exceptAll(frame).count() == 0, name
    check(cordon_transit.read_table(glob.glob(f"{out}/*.parquet"), transit), name)
spark.stop()
