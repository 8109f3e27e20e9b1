"""Writes encrypted Parquet files as others do: pyarrow and Spark with master keys in a transit engine, pyarrow with one key."""

import glob
import json
import os
import shutil
import sys

import cordon_transit
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

out, uniform_key, scratch = json.loads(sys.argv[1])
address, ca, token_file = (os.environ[name] for name in ("TEST_ADDRESS", "TEST_CA", "TEST_TOKEN_FILE"))
os.makedirs(out, exist_ok=True)


def table(first):
    people = [f"CANARY{first + n}" for n in range(4)]
    return pa.table({"patient": people, "day": ["2020-01-02"] * 4, "code": [f"E{first + n}" for n in range(4)]})


transit = cordon_transit.Transit(address, ca_file=ca)
columns = {"cordon-direct": ["patient"], "cordon-quasi": ["day"], "cordon-clinical": ["code"]}
for first, (name, internal, double) in enumerate([("inside", True, True), ("beside", False, True), ("single", True, False)]):
    config = pe.EncryptionConfiguration(
        footer_key="cordon-footer", column_keys=columns, encryption_algorithm="AES_GCM_V1", double_wrapping=double,
        data_key_length_bits=256, internal_key_material=internal, plaintext_footer=False,
    )
    path = f"{out}/{name}.parquet"
    where = {} if internal else {"parquet_file_path": path}
    keys = cordon_transit.crypto_factory(transit).file_encryption_properties(pe.KmsConnectionConfig(), config, **where)
    with pq.ParquetWriter(path, table(first * 4).schema, encryption_properties=keys) as writer:
        writer.write_table(table(first * 4))
pq.write_table(table(12), f"{out}/plain.parquet")

keys = pe.create_encryption_properties(footer_key=bytes.fromhex(uniform_key))
with pq.ParquetWriter(f"{scratch}/uniform.parquet", table(16).schema, encryption_properties=keys) as writer:
    writer.write_table(table(16))

from spark_session import spark_session

spark = spark_session(scratch)
frame = spark.createDataFrame(table(20).to_pylist()).coalesce(1)
writer = frame.write.option("parquet.encryption.footer.key", "cordon-footer")
writer = writer.option("parquet.encryption.column.keys", ";".join(f"{key}:{','.join(of)}" for key, of in columns.items()))
writer.parquet(f"{scratch}/spark")
# And with master keys in files: by another token, since parquet-java keeps clients and keys by it.
TOKEN = "parquet.encryption.key.access.token"
writer = writer.option("parquet.encryption.kms.client.class", "cordon.interop.FileKmsClient").option(TOKEN, "files")
for key in ["cordon-footer", *columns]:
    writer = writer.option(f"cordon.kms.key.file.{key}", f"{scratch}/{key}.key")
writer.parquet(f"{scratch}/files")
# It reads them back, and with another key it does not.
reader = lambda: spark.read.option("parquet.encryption.kms.client.class", "cordon.interop.FileKmsClient")
for token, direct in (("again", "cordon-direct"), ("wrong", "cordon-footer")):
    read = reader().option(TOKEN, token)
    for key in ["cordon-footer", *columns]:
        read = read.option(f"cordon.kms.key.file.{key}", f"{scratch}/{direct if key == 'cordon-direct' else key}.key")
    try:
        rows = sorted(row.patient for row in read.parquet(f"{scratch}/files").collect())
        assert token == "again" and rows == [f"CANARY{20 + n}" for n in range(4)], (token, rows)
    except Exception as error:
        assert token == "wrong" and "is not the one that wrapped this" in str(error), error
spark.stop()
for number, path in enumerate(glob.glob(f"{scratch}/spark/*.parquet")):
    shutil.copy(path, f"{out}/spark{number}.parquet")
