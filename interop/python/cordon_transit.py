"""Master keys of encrypted Parquet in the transit engine of OpenBao or HashiCorp Vault, for pyarrow and DuckDB.

The id of a master key is the name of the transit key. Needs pyarrow; `duckdb_key` needs `cryptography` too.
"""

import base64
import datetime
import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request

import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe


class Transit:
    """One transit engine. The token comes from `token`, `BAO_TOKEN` or `VAULT_TOKEN`."""

    def __init__(self, address, mount="transit", token=None, ca_file=None, namespace=None):
        url = urllib.parse.urlsplit(address)
        local = url.hostname in ("localhost", "127.0.0.1", "::1")
        if url.scheme != "https" and not (url.scheme == "http" and local):
            raise ValueError("the address has to begin with https://")
        self._base = f"{address.rstrip('/')}/v1/{mount.strip('/')}"
        self._token = token or os.environ.get("BAO_TOKEN") or os.environ["VAULT_TOKEN"]
        self._namespace = namespace
        https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
        self._opener = urllib.request.build_opener(https, _NoRedirects)

    def _ask(self, operation, key, body):
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", key):
            raise ValueError("the id of the master key is no name of a transit key")
        headers = {"X-Vault-Token": self._token, "X-Vault-Request": "true", "Content-Type": "application/json"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        request = urllib.request.Request(f"{self._base}/{operation}/{key}", json.dumps(body).encode(), headers)
        try:
            with self._opener.open(request, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            # What the store says besides its status is not repeated: it may quote what was sent.
            raise PermissionError(f"transit key {key}: {operation} was answered with status {error.code}") from None

    def wrap(self, key, master):
        return self._ask("encrypt", master, {"plaintext": base64.b64encode(key).decode()})["ciphertext"]

    def unwrap(self, wrapped, master):
        return base64.b64decode(self._ask("decrypt", master, {"ciphertext": wrapped})["plaintext"])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class _Kms(pe.KmsClient):
    def __init__(self, transit):
        pe.KmsClient.__init__(self)
        self._transit = transit

    def wrap_key(self, key, master):
        return self._transit.wrap(key, master).encode()

    def unwrap_key(self, wrapped, master):
        return self._transit.unwrap(wrapped.decode() if isinstance(wrapped, bytes) else wrapped, master)


def crypto_factory(transit):
    """A `CryptoFactory` whose master keys are in `transit`."""
    return pe.CryptoFactory(lambda _config: _Kms(transit))


def read_table(files, transit, **options):
    """The files of a table (`cordon tables files`) as one Arrow table, with key material in them or beside them."""
    import pyarrow as pa

    factory = crypto_factory(transit)
    return pa.concat_tables(_open(factory, file).read(**options) for file in files)


def _open(factory, file):
    config = pe.DecryptionConfiguration(cache_lifetime=datetime.timedelta(minutes=5))
    outside = not _metadata(file).get("internalStorage", True)
    where = {"parquet_file_path": str(file)} if outside else {}
    keys = factory.file_decryption_properties(pe.KmsConnectionConfig(), config, **where)
    return pq.ParquetFile(file, decryption_properties=keys)


def _metadata(file):
    """What the file says of its footer's key: `FileCryptoMetaData`, Thrift compact, holds it as its field 2."""
    with open(file, "rb") as handle:
        handle.seek(-8, os.SEEK_END)
        tail = handle.read(8)
        if tail[4:] != b"PARE":
            raise ValueError("not a Parquet file with an encrypted footer")
        length = int.from_bytes(tail[:4], "little")
        handle.seek(-8 - length, os.SEEK_END)
        footer = handle.read(length)
    start = footer.find(b'{"')
    metadata, _ = json.JSONDecoder().raw_decode(footer[start : footer.index(b"}", start) + 1].decode())
    return metadata


def duckdb_key(file, transit):
    """The key of a file that has one for all of it (`storage.encryption.keys: uniform`), in Base64."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    material = _metadata(file)
    if not material.get("internalStorage", True):
        beside = os.path.join(os.path.dirname(file), f"_KEY_MATERIAL_FOR_{os.path.basename(file)}.json")
        with open(beside, encoding="utf-8") as handle:
            material = json.loads(json.load(handle)[material["keyReference"]])
    if not material["doubleWrapping"]:
        return base64.b64encode(transit.unwrap(material["wrappedDEK"], material["masterKeyID"])).decode()
    kek = transit.unwrap(material["wrappedKEK"], material["masterKeyID"])
    sealed = base64.b64decode(material["wrappedDEK"])
    key = AESGCM(kek).decrypt(sealed[:12], sealed[12:], base64.b64decode(material["keyEncryptionKeyID"]))
    return base64.b64encode(key).decode()
