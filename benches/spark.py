"""Runs on Apache Spark beside Spark itself, in CPU-seconds of all processes, in one session. Run by `cargo xtask bench spark`.

    cargo xtask bench spark [--rows 5000000] [--files 16] [--only WORD] [--json FILE]

Input: CSV of 10 columns in so many files. A cluster of two executors (JVMs of their own, one core each) behind a server of Spark Connect does:

- a copy to Parquet by Spark alone, and the same through `mapInArrow` with a function that changes nothing: what a row costs to
  leave the JVM and come back;
- what people write instead of a policy: SHA-256 over columns joined, without a key; and a Python UDF with HMAC over four columns;
- `cordon run --engine spark`: four keyed hashes, year of birth, ZIP3, a dropped column, encryption, hashes of the source, record, durable commit.
  The program is sent, or executors have it;
- the same pipeline embedded, by two threads.

Everybody compresses by zstd. Each is run once to be warm and then so often as `--times` says; the median counts. The program is the
one that is handed out, without what is there for debuggers.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

RELEASE = os.path.join(os.environ["CORDON_TARGET"], "release")
TICKS = os.sysconf("SC_CLK_TCK")

POLICY = """
policy: bench
method: expert-determination
expert: { name: bench, document: none }
datasets:
  people:
    subject: patient_id
    fields:
      patient_id: { kind: medical-record-number, action: hash, domain: patient }
      name: { kind: name, action: hash, domain: name }
      ssn: { kind: ssn, action: hash, domain: ssn }
      dob: { kind: birth-date, action: year }
      zip: { kind: postal-code, otherwise: blank }
      gender: { kind: demographic }
      email: { kind: email, action: hash, domain: email }
      phone: { kind: phone, action: drop }
      diagnosis: { kind: clinical }
      amount: { kind: financial, type: decimal }
"""
PIPELINE = 'pipeline: bench\npolicy: bench\nsources:\n  - {{ dataset: people, path: "{source}/*.csv" }}\n'

PEER = """
import sys
from pyspark.sql import SparkSession
from pyspark.sql.functions import concat_ws, sha2, udf
source, target, remote = sys.argv[1:]
spark = SparkSession.builder.remote(remote).getOrCreate()
spark.conf.set("spark.sql.parquet.compression.codec", "zstd")
spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "65536")
df = spark.read.csv(source, header=True, inferSchema=False)
{work}
df.write.mode("overwrite").parquet(target)
"""
PEERS = {
    "spark, copy": "",
    "spark, mapInArrow that changes nothing": "df = df.mapInArrow(lambda batches: batches, df.schema)",
    "spark, SHA-256 of columns without a key": (
        'df = df.withColumn("id", sha2(concat_ws("|", "name", "dob", "ssn"), 256)).drop("name", "ssn", "email", "phone")'
    ),
    "spark, Python UDF with HMAC on 4 columns": """
import hashlib, hmac
key = b"0123456789abcdef0123456789abcdef"
hashed = udf(lambda value: value and hmac.new(key, value.encode(), hashlib.sha256).hexdigest())
for column in ("patient_id", "name", "ssn", "email"):
    df = df.withColumn(column, hashed(column))
df = df.drop("phone")
""",
}


class Used:
    """CPU-seconds of all processes of sessions, of those that ended too. Parents do not know: a Python worker's does not ask what it used."""

    def __init__(self):
        self.sessions, self.ticks, self.lock = set(), {}, threading.Lock()
        threading.Thread(target=self.look, daemon=True).start()

    def look(self):
        while True:
            self.seconds()
            time.sleep(0.1)

    def seconds(self):
        with self.lock:
            for process in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{process}/stat") as file:
                        fields = file.read().rsplit(")", 1)[1].split()
                except (OSError, IndexError):
                    continue
                if int(fields[3]) in self.sessions:
                    # Numbers of processes are given again, but not at the same time.
                    self.ticks[process, fields[19]] = int(fields[11]) + int(fields[12])
            return sum(self.ticks.values()) / TICKS


def stripped(folder):
    """The program as it is handed out."""
    program = os.path.join(folder, "cordon")
    subprocess.run(["strip", "-o", program, os.path.join(RELEASE, "cordon")], check=True)
    return program


class Cluster:
    def __init__(self, work, cordon):
        import pyspark

        home = os.path.dirname(pyspark.__file__)
        self.port = 15000 + os.getpid() % 10000
        conf, tmp = os.path.join(work, "conf"), os.path.join(work, "tmp")
        os.makedirs(conf)
        os.makedirs(tmp)
        settings = {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": os.path.join(work, "local"),
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(self.port),
            "spark.worker.cleanup.enabled": "true",
            "spark.executorEnv.CORDON_PROGRAM": cordon,
        }
        with open(os.path.join(conf, "spark-defaults.conf"), "w") as file:
            file.writelines(f"{name} {value}\n" for name, value in settings.items())
        self.log = open(os.path.join(work, "spark.log"), "w")
        environment = {
            **os.environ, "SPARK_HOME": home, "SPARK_CONF_DIR": conf, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable,
            "TMPDIR": tmp, "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={tmp}",
        }  # fmt: skip
        submit = [os.path.join(home, "bin", "spark-submit"), "--master", "local-cluster[2,1,2048]", "--class"]
        self.process = subprocess.Popen(
            [*submit, "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"],
            cwd=work, env=environment, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        self.used = Used()
        self.used.sessions.add(self.process.pid)
        self.remote = f"sc://127.0.0.1:{self.port}"
        for _ in range(120):
            time.sleep(1)
            with open(self.log.name) as file:
                if "Spark Connect server started" in file.read():
                    return
        sys.exit(f"the cluster does not start: {open(self.log.name).read()[-2000:]}")

    def stop(self):
        os.killpg(self.process.pid, 9)
        subprocess.run(["pkill", "-9", "-s", str(self.process.pid)], check=False)


def measure(name, command, used=None, cwd=None, accepted=(0,)):
    """CPU-seconds of a command and of those whom it has working, wall seconds, and what it said."""
    before = used.seconds() if used else 0.0
    begun = time.time()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=cwd, stdout=said, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.time() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        of_others = used.seconds() - before if used else 0.0
        for file in (said, errors):
            file.seek(0)
        if process.returncode not in accepted:
            sys.exit(f"{name} failed ({process.returncode}): {errors.read().decode()[-2000:]}")
        return of_others + usage.ru_utime + usage.ru_stime, wall, said.read().decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", default="", help="runs whose name holds this word")
    parser.add_argument("--json", help="write the figures here too")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="cordon-spark-bench-")
    cluster = None
    try:
        source, cordon = data(args, work), stripped(work)
        cluster = Cluster(work, cordon)
        figures = bench(args, work, source, cordon, cluster)
    finally:
        if cluster:
            cluster.stop()
        shutil.rmtree(work, ignore_errors=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(figures, file, indent=1)


def data(args, work):
    """One CSV in so many files, each with the header."""
    whole, folder = os.path.join(work, "people.csv"), os.path.join(work, "people")
    subprocess.run([os.path.join(RELEASE, "bench-patients"), whole, str(args.rows)], check=True, stdout=subprocess.DEVNULL)
    os.makedirs(folder)
    with open(whole, "rb") as rows:
        header = rows.readline()
        for number in range(args.files):
            with open(os.path.join(folder, f"people{number:03}.csv"), "wb") as part:
                part.write(header)
                for _ in range(args.rows // args.files + (number < args.rows % args.files)):
                    part.write(rows.readline())
    os.unlink(whole)
    return folder


def project(cordon, folder, source):
    subprocess.run([cordon, "init", folder, "-q"], check=True, stdout=subprocess.DEVNULL)
    with open(f"{folder}/policies/bench.yaml", "w") as file:
        file.write(POLICY)
    with open(f"{folder}/pipelines/bench.yaml", "w") as file:
        file.write(PIPELINE.format(source=source))


def bench(args, work, source, cordon, cluster):
    figures = []
    folder = os.path.join(work, "project")
    project(cordon, folder, source)

    def fresh():
        """The same again: nothing was read, and nothing is in tables."""
        for made in ("warehouse", ".cordon/state/bench", ".cordon/quarantine", ".cordon/staging"):
            shutil.rmtree(os.path.join(folder, made), ignore_errors=True)

    run = [cordon, "run", "bench", "-q"]
    runs = [(name, [sys.executable, "-c", PEER.format(work=code), source, os.path.join(work, "out"), cluster.remote], cluster)
            for name, code in PEERS.items()]  # fmt: skip
    on_spark = [*run, "--engine", "spark", "--remote", cluster.remote]
    runs.append(("cordon run --engine spark", on_spark, cluster))
    runs.append(("the same where executors have the program", [*on_spark, "--installed"], cluster))
    runs.append(("cordon run, embedded", run, None))
    for name, command, on in runs:
        if args.only not in name:
            continue
        taken = []
        for turn in range(args.times + 1):
            print(f"… {name} {turn}", file=sys.stderr, flush=True)
            shutil.rmtree(os.path.join(work, "out"), ignore_errors=True)
            fresh()
            taken.append(measure(name, command, on.used if on else None, folder, (0, 3))[:2])
        cpu, wall = (statistics.median(figure) for figure in zip(*taken[1:]))
        figures.append({"name": name, "cpu_seconds": round(cpu, 2), "wall_seconds": round(wall, 2)})
    size = sum(os.path.getsize(os.path.join(source, file)) for file in os.listdir(source)) >> 20
    base = next((row["cpu_seconds"] for row in figures if "changes nothing" in row["name"]), None)
    print(f"{args.rows} rows, {size} MiB in {args.files} files; median of {args.times}\n")
    print(f"{'':44}{'CPU s':>8}{'× mapInArrow':>14}{'wall s':>8}")
    for row in figures:
        row["times_map_in_arrow"] = round(row["cpu_seconds"] / base, 2) if base else None
        print(f"{row['name']:44}{row['cpu_seconds']:8.2f}{row['times_map_in_arrow'] or '':>14}{row['wall_seconds']:8.2f}")
    return figures


if __name__ == "__main__":
    main()
