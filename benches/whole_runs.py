"""Whole runs in CPU-seconds (user + system, children included), all in one session, so that ratios hold.

    cargo xtask bench [--rows 5000000] [--threads 2]

Input: one CSV of 10 columns (patient_id, name, ssn, dob, zip, gender, email, phone, diagnosis, amount). Compared: Cordon with
four keyed hashes (expert determination), Cordon with four random tokens (a fresh vault), and plain CSV to Parquet copies
and the same masking by Polars and DuckDB. Keyed hashing in the peers is SHA-256 over key and value, as they have no HMAC.
"""
import argparse, json, os, resource, shutil, subprocess, sys, tempfile, time

ROOT = os.environ.get("CORDON_ROOT", os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
CORDON = os.path.join(TARGET, "release", "cordon")

FIELDS = """
      patient_id: {{ kind: medical-record-number, action: {key}, domain: patient }}
      name: {{ kind: name, action: {key}, domain: name }}
      ssn: {{ kind: ssn, action: {key}, domain: ssn }}
      dob: {{ kind: birth-date }}
      zip: {{ kind: postal-code, otherwise: blank }}
      gender: {{ kind: demographic }}
      email: {{ kind: email, action: {key}, domain: email }}
      phone: {{ kind: phone }}
      diagnosis: {{ kind: clinical }}
      amount: {{ kind: financial, type: decimal }}
"""

DUCK = """import duckdb; c = duckdb.connect(); c.execute("SET threads={t}"); c.execute("SET preserve_insertion_order=false")
c.execute(\"\"\"COPY (SELECT {cols} FROM read_csv('{src}', header=true, types={{'patient_id':'VARCHAR','zip':'VARCHAR','dob':'VARCHAR'}})) TO '{out}' (FORMAT parquet, COMPRESSION zstd)\"\"\")"""
MASK = ("sha256('k'||patient_id) patient_id, sha256('k'||name) name, sha256('k'||ssn) ssn, substr(dob,1,4) dob, "
        "substr(zip,1,3) zip, gender, sha256('k'||email) email, diagnosis, amount")
POLARS = """import os; os.environ["POLARS_MAX_THREADS"]="{t}"
import polars as pl
pl.scan_csv("{src}", infer_schema=False).sink_parquet("{out}", compression="zstd")"""


def measure(name, command, cwd=None):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.time()
    done = subprocess.run(["/usr/bin/env", *command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        sys.exit(f"{name} failed: {done.stderr.decode()[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"name": name, "cpu_seconds": round(cpu, 2), "wall_seconds": round(time.time() - start, 2)}


def project(folder, source, key, threads):
    subprocess.run([CORDON, "init", folder, "-q"], check=True, stdout=subprocess.DEVNULL)
    head = "policy: bench\nmethod: expert-determination\nexpert: { name: bench, document: none }\ndatasets:\n  people:\n    subject: patient_id\n    fields:"
    open(f"{folder}/policies/bench.yaml", "w").write(head + FIELDS.format(key=key))
    open(f"{folder}/pipelines/bench.yaml", "w").write(
        f"pipeline: bench\npolicy: bench\nsources:\n  - {{ dataset: people, path: {source} }}\n")
    text = open(f"{folder}/cordon.yaml").read().replace("threads: 0", f"threads: {threads}")
    open(f"{folder}/cordon.yaml", "w").write(text)


def peak_mb(folder):
    out = subprocess.run(["/usr/bin/env", "python3", "-c",
                          "import resource,subprocess,sys; subprocess.run(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss//1024)",
                          CORDON, "run", "bench", "-q"], cwd=folder, capture_output=True, text=True)
    return int(out.stdout.strip().splitlines()[-1])


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rows", type=int, default=5_000_000)
    args.add_argument("--threads", type=int, default=2)
    args = args.parse_args()
    work = tempfile.mkdtemp(prefix="cordon-bench-")
    try:
        source = os.path.join(work, "people.csv")
        subprocess.run(["cargo", "run", "--release", "--locked", "-q", "-p", "cordon-synth", "--example", "hospital", "--",
                        source, str(args.rows), "bench"], check=True, cwd=ROOT)
        python, t = sys.executable, args.threads
        rows = [
            measure("duckdb copy", [python, "-c", DUCK.format(t=t, cols="*", src=source, out=work + "/d.parquet")]),
            measure("polars copy", [python, "-c", POLARS.format(t=t, src=source, out=work + "/p.parquet")]),
            measure("duckdb, SHA-256 of 4 columns", [python, "-c", DUCK.format(t=t, cols=MASK, src=source, out=work + "/m.parquet")]),
        ]
        for name, key in [("cordon, 4 keyed hashes", "hash"), ("cordon, 4 first-seen tokens", "token")]:
            folder = os.path.join(work, key)
            project(folder, source, key, t)
            rows.append(measure(name, [CORDON, "run", "bench", "-q"], cwd=folder))
            again = folder + "-peak"
            project(again, source, key, t)
            rows[-1]["peak_mb"] = peak_mb(again)
            shutil.rmtree(again)
        base = rows[0]["cpu_seconds"]
        for row in rows:
            row["times_duckdb_copy"] = round(row["cpu_seconds"] / base, 2)
            print(json.dumps(row))
    finally:
        shutil.rmtree(work, ignore_errors=True)


main()
