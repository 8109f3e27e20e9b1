"""Whole runs in CPU-seconds (user + system of the process and its children), all in one session, so that ratios hold.

    cargo xtask bench [--rows 5000000] [--threads 2] [--only WORD] [--json FILE]

Input: one CSV of 10 columns (patient_id, name, ssn, dob, zip, gender, email, phone, diagnosis, amount).

- Cordon, the whole of it: four pseudonyms, the year of birth, ZIP3, a dropped phone, encryption, hashes of the source,
  audit log, durable commit. With keyed hashes (expert determination), with random tokens for persons never seen before
  (a new vault), and with the same tokens a second time (the vault knows them all).
- DataFusion copying the CSV to Parquet, and nothing else: what the others are measured against.
- DuckDB and Polars: a copy, and the same masking. Polars has no HMAC and takes SHA-256 over key and value; DuckDB's HMAC is
  put together of two SHA-256. Neither encrypts, commits durably, keeps a record, or knows what it must not let pass.

Everybody compresses by zstd at level 1.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.environ.get("CORDON_ROOT", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
CORDON = os.path.join(TARGET, "release", "cordon")

POLICY = """
policy: bench
method: expert-determination
expert: {{ name: bench, document: none }}
datasets:
  people:
    subject: patient_id
    fields:
      patient_id: {{ kind: medical-record-number, action: {key}, domain: patient }}
      name: {{ kind: name, action: {key}, domain: name }}
      ssn: {{ kind: ssn, action: {key}, domain: ssn }}
      dob: {{ kind: birth-date, action: year }}
      zip: {{ kind: postal-code, otherwise: blank }}
      gender: {{ kind: demographic }}
      email: {{ kind: email, action: {key}, domain: email }}
      phone: {{ kind: phone, action: drop }}
      diagnosis: {{ kind: clinical }}
      amount: {{ kind: financial, type: decimal }}
"""
PIPELINE = "pipeline: bench\npolicy: bench\nsources:\n  - {{ dataset: people, path: {source} }}\n"

RESTRICTED = "036 059 063 102 202 203 204 205 369 556 692 753 772 790 821 823 830 831 878 879 884 890 893".split()
QUOTED = ",".join(f"'{prefix}'" for prefix in RESTRICTED)
KEY = b"0123456789abcdef0123456789abcdef"


def pad(with_byte):
    return "".join(f"\\x{byte ^ with_byte:02X}" for byte in KEY.ljust(64, b"\0"))


DUCKDB = f"""
import duckdb
c = duckdb.connect()
c.execute("SET threads={{threads}}")
c.execute("SET preserve_insertion_order=false")
c.execute(r\"\"\"CREATE MACRO h(v) AS sha256('{pad(0x5c)}'::BLOB || unhex(sha256('{pad(0x36)}'::BLOB || encode(v))))\"\"\")
c.execute(r\"\"\"COPY (SELECT {{columns}} FROM read_csv('{{source}}', header=true, all_varchar=true))
    TO '{{target}}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)\"\"\")
"""
DUCKDB_MASK = (
    "h(patient_id) patient_id, h(name) name, h(ssn) ssn, CASE WHEN substr(dob,1,4) <= '1936' THEN '1936' ELSE substr(dob,1,4) END dob, "
    f"CASE WHEN substr(zip,1,3) IN ({QUOTED}) THEN '000' ELSE substr(zip,1,3) END zip, gender, h(email) email, diagnosis, "
    "TRY_CAST(amount AS DOUBLE) amount"
)
POLARS = """
import os
os.environ["POLARS_MAX_THREADS"] = "{threads}"
import polars as pl
table = pl.scan_csv("{source}", infer_schema=False)
{mask}
table.sink_parquet("{target}", compression="zstd", compression_level=1)
"""
POLARS_MASK = f"""
import polars_hash as plh
zip3, year = pl.col("zip").str.slice(0, 3), pl.col("dob").str.slice(0, 4)
hashed = [plh.concat_str([pl.lit("{KEY.decode()}"), pl.col(c)]).chash.sha2_256().alias(c) for c in ("patient_id", "name", "ssn", "email")]
table = table.with_columns(*hashed, pl.when(zip3.is_in({RESTRICTED})).then(pl.lit("000")).otherwise(zip3).alias("zip"),
    pl.when(year <= "1936").then(pl.lit("1936")).otherwise(year).alias("dob"),
    pl.col("amount").cast(pl.Float64, strict=False)).drop("phone")
"""


def measure(name, command, cwd=None, accepted=(0,)):
    """Runs to the end; CPU-seconds of the process and what it waited for, its peak memory, and wall seconds."""
    print(f"… {name}", file=sys.stderr, flush=True)
    start = time.time()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.time() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in accepted:
            errors.seek(0)
            sys.exit(f"{name} failed ({process.returncode}): {errors.read().decode()[-800:]}")
    return {
        "name": name,
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_seconds": round(wall, 2),
        "peak_mib": usage.ru_maxrss // 1024,
    }


def project(folder, source, key, threads):
    subprocess.run([CORDON, "init", folder, "-q"], check=True, stdout=subprocess.DEVNULL)
    write(f"{folder}/policies/bench.yaml", POLICY.format(key=key))
    write(f"{folder}/pipelines/bench.yaml", PIPELINE.format(source=source))
    with open(f"{folder}/cordon.yaml") as file:
        text = file.read()
    assert "threads: 0" in text
    write(f"{folder}/cordon.yaml", text.replace("threads: 0", f"threads: {threads}"))


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rows", type=int, default=5_000_000)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--only", default="", help="runs whose name holds this word, and the copy they are measured against")
    args.add_argument("--json", help="write the figures here too")
    args = args.parse_args()
    work = tempfile.mkdtemp(prefix="cordon-bench-")
    try:
        rows = bench(args, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if args.json:
        write(args.json, json.dumps(rows, indent=1))


def bench(args, work):
    source = os.path.join(work, "people.csv")
    cargo = ["cargo", "run", "--release", "--locked", "-q"]
    subprocess.run([*cargo, "-p", "cordon-synth", "--example", "hospital", "--", source, str(args.rows), "bench"],
                   check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    copy = os.path.join(TARGET, "release", "examples", "copy")
    python, threads = sys.executable, args.threads
    rows = []

    def run(name, command, **more):
        if args.only in name or name.startswith("datafusion"):
            rows.append(measure(name, command, **more))

    def peer(code, target, **more):
        target = os.path.join(work, target)
        return [python, "-c", code.format(threads=threads, source=source, target=target, **more)]

    run("datafusion, copy", [copy, source, work + "/datafusion", str(threads), "text"])
    run("datafusion, copy with inferred types", [copy, source, work + "/inferred", str(threads), "inferred"])
    run("duckdb, copy", peer(DUCKDB, "duckdb.parquet", columns="*"))
    run("duckdb, 4 keyed hashes", peer(DUCKDB, "duckdb-mask.parquet", columns=DUCKDB_MASK))
    run("polars, copy", peer(POLARS, "polars.parquet", mask=""))
    run("polars, 4 keyed hashes", peer(POLARS, "polars-mask.parquet", mask=POLARS_MASK))
    for name, key in [("cordon, 4 keyed hashes", "hash"), ("cordon, 4 first-seen tokens", "token")]:
        if args.only not in name and args.only not in "cordon, 4 known tokens":
            continue
        folder = os.path.join(work, key)
        project(folder, source, key, threads)
        # 3: done, and some records of the file are in quarantine.
        run(name, [CORDON, "run", "bench", "-q"], cwd=folder, accepted=(0, 3))
        if key == "token":
            # Any byte of a policy makes its tables anew: every value is looked up in the vault.
            write(f"{folder}/policies/bench.yaml", POLICY.format(key=key) + "# again\n")
            run("cordon, 4 known tokens", [CORDON, "run", "bench", "-q"], cwd=folder, accepted=(0, 3))
        shutil.rmtree(folder)
    base = rows[0]["cpu_seconds"]
    print(f"{args.rows} rows, {os.path.getsize(source) >> 20} MiB, {threads} threads\n")
    print(f"{'':40}{'CPU s':>8}{'× copy':>8}{'wall s':>8}{'peak MiB':>10}")
    for row in rows:
        row["times_copy"] = round(row["cpu_seconds"] / base, 2)
        print(f"{row['name']:40}{row['cpu_seconds']:8.2f}{row['times_copy']:8.2f}{row['wall_seconds']:8.2f}{row['peak_mib']:10}")
    return rows


main()
