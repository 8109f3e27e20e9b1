"""Reads our file, checks that it cannot be read without keys, and writes it again in the ways that pyarrow knows."""

import base64
import datetime
import os
import sys

import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ours, out, masters = sys.argv[1:]
MASTERS = {name: bytes.fromhex(key) for name, key in (pair.split("=") for pair in masters.split(","))}


class Kms(pe.KmsClient):
    def __init__(self, config):
        pe.KmsClient.__init__(self)

    def wrap_key(self, key, master):
        nonce = os.urandom(12)
        return base64.b64encode(nonce + AESGCM(MASTERS[master]).encrypt(nonce, key, master.encode()))

    def unwrap_key(self, wrapped, master):
        raw = base64.b64decode(wrapped)
        return AESGCM(MASTERS[master]).decrypt(raw[:12], raw[12:], master.encode())


factory = pe.CryptoFactory(Kms)
kms = pe.KmsConnectionConfig()


def decryption():
    return factory.file_decryption_properties(
        kms, pe.DecryptionConfiguration(cache_lifetime=datetime.timedelta(minutes=5))
    )


try:
    pq.read_table(ours)
except Exception:
    pass
else:
    raise SystemExit("read without keys")

withheld = MASTERS.pop("cordon-direct.v1")
file = pq.ParquetFile(ours, decryption_properties=decryption())
assert file.read(columns=["age"]).num_rows == 500
try:
    file.read(columns=["name"])
except Exception:
    pass
else:
    raise SystemExit("read without the key of the column")
MASTERS["cordon-direct.v1"] = withheld
factory = pe.CryptoFactory(Kms)

file = pq.ParquetFile(ours, decryption_properties=decryption())
table = file.read()
assert table.num_rows == 500, table.num_rows
assert table.column("age")[0].as_py() == 20
assert table.column("name")[499].as_py().endswith("-499")
for group in range(file.metadata.num_row_groups):
    for column in range(file.metadata.num_columns):
        assert not getattr(file.metadata.row_group(group).column(column), "has_bloom_filter", False)

for name, double, bits in [("single-256", False, 256), ("double-256", True, 256), ("double-128", True, 128)]:
    config = pe.EncryptionConfiguration(
        footer_key="cordon-footer.v1",
        column_keys={
            "cordon-direct.v1": ["Id", "name"],
            "cordon-quasi.v1": ["GENDER", "birth", "age"],
            "cordon-clinical.v1": ["cost", "visits"],
        },
        encryption_algorithm="AES_GCM_V1",
        double_wrapping=double,
        data_key_length_bits=bits,
        internal_key_material=True,
        plaintext_footer=False,
    )
    with pq.ParquetWriter(
        f"{out}/{name}.parquet", table.schema, encryption_properties=factory.file_encryption_properties(kms, config)
    ) as writer:
        writer.write_table(table)

