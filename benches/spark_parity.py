"""Whole runs on a secured cluster of Apache Spark beside the same runs here: are the rows the same, and what does a cluster get to see?

    CORDON_TARGET=target python3 benches/spark_parity.py [--patients 100000] [--python VENV/bin/python] [--capture] [--only keyed]

A cluster of Spark's own kind (a master, two workers with a core each, a Spark Connect server, each a JVM of its own, with authentication
and encryption between them and of what they spill) runs two pipelines with `cordon run --engine spark`:

- `hospital`: `cordon synth` in CSV and FHIR, by Safe Harbor;
- `keyed`: CSV and HL7 v2 in many files, by an expert's policy with tokens, hashes, made-up names and shifted dates, and an identity.

Then a twin of each project, with its keys and vault, which has read nothing yet, runs the same without Spark. Compared are what both
runs tell, what was put aside, and all rows of all tables, as multisets.

What the cluster wrote (event logs, logs, folders of work, spill) is searched for identifiers of the patients and for the root key, as
they are, in hexadecimal and in base64; with `--capture` (root, tcpdump) also all that went over the loopback interface meanwhile, but
for last names that stand in lists of the program, which goes there too.
`--python` is the interpreter of the executors, with its pyspark, 4.0 or later. Exits with 1 where rows differ or something is found.
"""

import argparse
import atexit
import base64
import csv
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from spark import Used, measure, stripped  # noqa: E402

KEYED = """
policy: keyed
method: expert-determination
expert: { name: bench, document: none }
datasets:
  people:
    subject: id
    fields:
      id: { kind: unique-id, action: token, domain: patient }
      mrn: { kind: medical-record-number, action: token, domain: mrn }
      ssn: { kind: ssn, action: hash }
      first: { kind: name, action: surrogate, surrogate: first-name }
      born: { kind: birth-date, action: shift-date }
      row: { kind: operational }
  hl7:
    hl7v2:
      types:
        XPN.2: { kind: name, action: surrogate, surrogate: first-name }
        CX: { kind: medical-record-number, action: token, domain: mrn }
        CX.5: { kind: operational }
        TS.1: { kind: service-date, action: shift-date }
      elements:
        MSH-10: { kind: operational, action: keep, because: numbers of a bench }
"""
KEYED_PIPELINE = """
pipeline: keyed
policy: keyed
sources:
  - { dataset: people, path: "in/people*.csv", identity: { id: patient, mrn: mrn, ssn: ssn } }
  - { dataset: hl7, path: "in/*.hl7", identity: { "PID-3[MR]": mrn, PID-19: ssn } }
"""
A_FILE = 2000
MADE = (".cordon/state", ".cordon/staging", ".cordon/quarantine", "warehouse")

# How identifiers look: what has a shape is looked up, instead of looking for each. Eight digits are many things; an MRN stands as a value.
SHAPES = {
    "patient_id": rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "mrn": rb"(?<=[\n\"'/,|>^ ])\d{8}(?=[\n\r\"'/,|<^])",
    "ssn": rb"\d{3}-\d\d-\d{4}",
    "phone": rb"(?:\+1 )?\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}",
    "email": rb"[\w.'+-]+@[\w-]+(?:\.[\w-]+)+",
    "health_plan_id": rb"MBR\d{9}",
    "account_number": rb"ACC-\d{10}",
    "planted": rb"(?:PTQ|MQZ|QFQ|Zqx|Wvy)\d{6}",
}
SHAPES = {kind: re.compile(shape) for kind, shape in SHAPES.items()}
HEX, BASE64 = re.compile(rb"[0-9A-Fa-f]{12,}"), re.compile(rb"[\w+/-]{12,}")
PIECE, OVERLAP = 64 << 20, 4096
# Nobody's.
CONTROL = "MQZ999999"


class Project:
    def __init__(self, cordon, work, name):
        self.cordon, self.name = cordon, name
        self.folder, self.twin = os.path.join(work, name), os.path.join(work, f"{name}-twin")
        subprocess.run([cordon, "init", self.folder, "-q", "--template", "hospital"], check=True, stdout=subprocess.DEVNULL)

    def ask(self, *words, folder=None):
        return json.loads(subprocess.run([self.cordon, *words, "--format", "json"], cwd=folder, check=True, capture_output=True).stdout)

    def run(self, folder, remote=None, used=None):
        more = ["--engine", "spark", "--remote", remote] if remote else []
        command = [self.cordon, "run", self.pipeline, "-q", "--format", "json", *more]
        cpu, wall, said = measure(f"{self.name}{' on Spark' if remote else ''}", command, used, folder, (0, 3))
        report = json.loads(said)
        return cpu, wall, {key: value for key, value in report.items() if key not in ("run", "seconds", "resumed", "tables")}

    def make_twin(self):
        """The same keys and tokens; nothing was read yet."""
        made = {os.path.join(self.folder, place) for place in MADE}
        sources = os.path.join(self.folder, self.sources) + os.sep

        def ignore(folder, names):
            return [name for name in names if os.path.join(folder, name) in made]

        def copy(path, to):
            return os.link(path, to) if path.startswith(sources) else shutil.copy2(path, to)

        shutil.copytree(self.folder, self.twin, ignore=ignore, copy_function=copy)

    def rows(self, folder):
        """Of each table its columns, how many rows it has, and the sum of their digests: the order says nothing."""
        who = ["--as", "engineer", "--purpose", "operations"]
        tables = {}
        for table in self.ask("tables", *who, folder=folder):
            query = [self.cordon, "sql", f'SELECT * FROM "{table["table"]}"', *who, "--format", "csv", "-q"]
            with subprocess.Popen(query, cwd=folder, stdout=subprocess.PIPE) as process:
                columns, count, digests = next(process.stdout), 0, 0
                for row in process.stdout:
                    # A value may have lines.
                    while row.count(b'"') % 2:
                        row += next(process.stdout)
                    count += 1
                    digests += int.from_bytes(hashlib.blake2b(row, digest_size=16).digest(), "little")
            if process.returncode or count != table["rows"]:
                sys.exit(f"{table['table']} cannot be read")
            tables[table["table"]] = columns, count, digests % (1 << 128)
        return tables

    def aside(self, folder):
        entries = self.ask("quarantine", "list", folder=folder)
        return sorted((entry["dataset"], entry["file"], entry["line"] or 0, entry["reason"]) for entry in entries)


class Hospital(Project):
    pipeline, sources = "nightly", "data"

    def fill(self, patients):
        # By a seed of its own: other people's tests on this machine have other patients.
        synth = ["synth", "data", "--patients", str(patients), "--seed", "20261127"]
        subprocess.run([self.cordon, *synth, "-q"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def secrets(self):
        known, names = {kind: set() for kind in SHAPES}, set()
        with open(os.path.join(self.folder, "data/csv/patients.csv"), encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                for kind, shape in SHAPES.items():
                    value = (row.get(kind) or "").encode()
                    match = shape.search(b'"%b"' % value)
                    if match and match[0] == value:
                        known[kind].add(value)
                name = (row["last_name"] or "").strip()
                if len(name) > 6 and "\ufffd" not in name:
                    names.add(name.encode())
        return known, names


class Keyed(Project):
    pipeline, sources = "keyed", "in"

    def fill(self, patients):
        for name, content in [("policies", KEYED), ("pipelines", KEYED_PIPELINE)]:
            with open(os.path.join(self.folder, name, "keyed.yaml"), "w") as file:
                file.write(content)
        self.people = [
            (f"PTQ{n:06}", f"MQZ{n:06}", f"{101 + n // 9000:03}-{10 + n % 80}-{1000 + n % 9000}", f"Zqx{n:06}", f"Wvy{n:06}", 1930 + n % 60)
            for n in range(patients)
        ]
        os.makedirs(os.path.join(self.folder, "in"))
        for first in range(0, patients, A_FILE):
            some = self.people[first : first + A_FILE]
            with open(os.path.join(self.folder, f"in/people-QFQ{first:06}.csv"), "w") as file:
                file.write("id,mrn,ssn,first,born,row\n")
                file.writelines(f"{id},{mrn},{ssn},{name},{born}-03-04,r{mrn[3:]}\n" for id, mrn, ssn, name, _, born in some)
            with open(os.path.join(self.folder, f"in/QFQ{first:06}.hl7"), "w", newline="") as file:
                file.writelines(
                    f"MSH|^~\\&|||||20200102||ADT^A01|{mrn[3:]}||2.5\rPID|||{mrn}^^^^MR||{last}^{name}||{born}0304||||||||||||{ssn}\r"
                    for _, mrn, ssn, name, last, born in some
                )

    def secrets(self):
        known = {kind: set() for kind in SHAPES}
        known["ssn"] = {person[2].encode() for person in self.people}
        known["planted"] = {word.encode() for person in self.people for word in (person[0], person[1], person[3], person[4])}
        known["planted"] |= {f"QFQ{first:06}".encode() for first in range(0, len(self.people), A_FILE)}
        return known, set()


class Cluster:
    """As the tests' one: `crates/cli/tests/it/spark/cluster.rs`."""

    def __init__(self, work, python):
        self.python, self.folder, self.running, self.used = python, os.path.join(work, "cluster"), [], Used()
        told = "import os, pyspark; print(os.path.dirname(pyspark.__file__), pyspark.__version__)"
        self.home, self.version = subprocess.check_output([python, "-c", told], text=True).split()
        for name in ("conf", "events", "local", "work1", "work2", "logs", "tmp"):
            os.makedirs(os.path.join(self.folder, name))
        settings = {
            "spark.authenticate": "true",
            "spark.authenticate.secret": "a-secret-of-this-cluster",
            "spark.network.crypto.enabled": "true",
            "spark.network.crypto.authEngineVersion": "2",
            "spark.network.crypto.saslFallback": "false",
            "spark.io.encryption.enabled": "true",
            "spark.master.rest.enabled": "false",
            "spark.ui.enabled": "false",
            "spark.local.dir": os.path.join(self.folder, "local"),
            "spark.eventLog.enabled": "true",
            "spark.eventLog.compress": "false",
            "spark.eventLog.dir": f"file://{self.folder}/events",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.executor.memory": "1g",
            "spark.executor.cores": "1",
            "spark.connect.grpc.binding.address": "127.0.0.1",
        }
        with open(os.path.join(self.folder, "conf/spark-defaults.conf"), "w") as file:
            file.writelines(f"{name} {value}\n" for name, value in settings.items())
        port, connect = free_port(), free_port()
        master = f"spark://127.0.0.1:{port}"
        here = ["--host", "127.0.0.1", "--webui-port", "0"]
        self.launch("spark-class", "master", "Starting Spark master at", "org.apache.spark.deploy.master.Master", *here, "--port", str(port))
        for worker in ("work1", "work2"):
            most = ["--cores", "1", "--memory", "3g", "-d", os.path.join(self.folder, worker)]
            started = "Successfully registered with master"
            self.launch("spark-class", worker, started, "org.apache.spark.deploy.worker.Worker", *here, *most, master)
        server = ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "--master", master]
        binding = ["--conf", f"spark.connect.grpc.binding.port={connect}", "spark-internal"]
        self.launch("spark-submit", "connect", "Spark Connect server started at", *server, *binding)
        self.remote = f"sc://127.0.0.1:{connect}"

    def launch(self, program, name, started, *words):
        # What was sent is kept where temporary files are, and not in `spark.local.dir`.
        tmp = os.path.join(self.folder, "tmp")
        environment = {
            **os.environ, "SPARK_HOME": self.home, "SPARK_CONF_DIR": os.path.join(self.folder, "conf"), "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_PYTHON": self.python, "SPARK_DAEMON_MEMORY": "512m", "TMPDIR": tmp, "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={tmp}",
        }  # fmt: skip
        log = os.path.join(self.folder, "logs", name)
        with open(log, "w") as file:
            process = subprocess.Popen(
                [os.path.join(self.home, "bin", program), *words],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self.running.append(process)
        self.used.sessions.add(process.pid)
        for _ in range(1200):
            time.sleep(0.1)
            with open(log) as file:
                said = file.read()
            if started in said:
                return
            if process.poll() is not None:
                break
        self.stop()
        sys.exit(f"the cluster does not start: {said[-2000:]}")

    def stop(self):
        for process in reversed(self.running):
            subprocess.run(["pkill", "-9", "-s", str(process.pid)], check=False)
            process.wait()


class Capture:
    """All that goes over loopback, and what is said there in clear to be found again."""

    def __init__(self, path):
        self.path = path
        self.process = subprocess.Popen(
            ["tcpdump", "-i", "lo", "-U", "-s", "0", "-B", "262144", "-Z", "root", "-w", path],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        atexit.register(self.process.kill)
        while not os.path.exists(path) or os.path.getsize(path) < 24:
            if self.process.poll() is not None:
                sys.exit(f"the network cannot be captured: {self.process.stderr.read()}")
            time.sleep(0.02)
        speak(CONTROL.encode())

    def stop(self):
        for encoded in (CONTROL.encode().hex().encode(), *shifted(CONTROL.encode())):
            speak(encoded)
        # The kernel hands over what it has at least once a second.
        time.sleep(2.5)
        self.process.send_signal(signal.SIGINT)
        said = self.process.communicate()[1]
        if "\n0 packets dropped by kernel" not in said:
            sys.exit(f"the capture is not whole: {said}")


def speak(words):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        heard, _ = server.accept()
        with heard:
            client.sendall(b"words=" + words + b"\n")
            heard.recv(4096)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def shifted(text):
    """In base64, wherever it begins."""
    return [base64.b64encode(b"\n" * shift + text + b"\n\n") for shift in range(3)]


class Look:
    def __init__(self, known, names, key, passed_over):
        self.known = {kind: some for kind, some in known.items() if some}
        self.names, self.key, self.passed_over = names, key, passed_over
        self.bytes = 0

    def plain(self, data):
        for kind, known in self.known.items():
            for match in SHAPES[kind].finditer(data):
                if match[0] in known:
                    yield kind, match[0]
        for name in self.names:
            if name in data:
                yield "last_name", name
        if any(key in data for key in (self.key, self.key.hex().encode(), self.key.hex().upper().encode(), base64.b64encode(self.key))):
            yield "key", b"the root key"

    def piece(self, data):
        found = {(*hit, "as it is") for hit in self.plain(data)}
        digits = [match[0] for match in HEX.finditer(data)]
        pieces = [bytes.fromhex(run[at : len(run) - (len(run) - at) % 2].decode()) for run in digits for at in (0, 1)]
        found |= {(*hit, "hex") for hit in self.plain(b"\n".join(pieces))}
        runs = [match[0].translate(bytes.maketrans(b"-_", b"+/")) for match in BASE64.finditer(data)]
        pieces = [base64.b64decode(run[at : len(run) - (len(run) - at) % 4]) for run in runs for at in range(4)]
        return found | {(*hit, "base64") for hit in self.plain(b"\n".join(pieces))}

    def file(self, path):
        found, rest = set(), b""
        with open(path, "rb") as file:
            while data := file.read(PIECE):
                self.bytes += len(data)
                found |= self.piece(rest + data)
                rest = data[-OVERLAP:]
        return found

    def folder(self, folder):
        """What stands in which file. The program that was sent is no secret, whatever it is called."""
        found = {}
        for place, _, names in os.walk(folder):
            for path in (os.path.join(place, name) for name in names):
                try:
                    if not os.path.isfile(path) or digest_of(path, self.passed_over[0]) == self.passed_over[1]:
                        continue
                    hits = self.file(path)
                except FileNotFoundError:
                    # Some go while executors are at work.
                    continue
                if hits:
                    found[os.path.relpath(path, folder)] = hits
        return found


def digest_of(path, size=None):
    """Of a file of that size."""
    if size is not None and os.path.getsize(path) != size:
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def control(look):
    """One of each kind is found, however it is written."""
    for kind, known in look.known.items():
        one = next(iter(known))
        written = [(b'"%b"' % one, "as it is"), (b" %b\n" % b"\n".join([b"", one, b""]).hex().encode(), "hex")]
        written += [(encoded, "base64") for encoded in shifted(b"\n" + one + b"\n")]
        for text, how in written:
            if (kind, one, how) not in look.piece(text):
                sys.exit(f"the search does not find {kind} in {how}")


def compare(project, cluster, args, work):
    """A row of the table, and what is wrong."""
    print(f"… {project.name}: made", file=sys.stderr, flush=True)
    project.fill(args.patients)
    capture = Capture(os.path.join(work, "capture.pcap")) if args.capture else None
    print(f"… {project.name}: on Spark", file=sys.stderr, flush=True)
    cpu, wall, report = project.run(project.folder, cluster.remote, cluster.used)
    if capture:
        capture.stop()
    print(f"… {project.name}: here", file=sys.stderr, flush=True)
    project.make_twin()
    cpu_here, wall_here, report_here = project.run(project.twin)
    print(f"… {project.name}: compared", file=sys.stderr, flush=True)
    rows, rows_here = project.rows(project.folder), project.rows(project.twin)
    wrong = [f"table {table} differs" for table in sorted(rows.keys() | rows_here.keys()) if rows.get(table) != rows_here.get(table)]
    if report != report_here:
        wrong.append(f"the runs tell different things: {[key for key in report if report[key] != report_here.get(key)]}")
    if project.aside(project.folder) != project.aside(project.twin):
        wrong.append("other records were put aside")
    equal = not wrong

    print(f"… {project.name}: searched", file=sys.stderr, flush=True)
    known, names = project.secrets()
    with open(os.path.join(project.folder, "secrets/root.key")) as file:
        key = bytes.fromhex(file.read().strip())
    size = os.path.getsize(project.cordon)
    look = Look(known, names, key, (size, digest_of(project.cordon)))
    control(look)
    found = look.folder(cluster.folder)
    of_files, of_capture = look.bytes, 0
    events = Look({}, {b"MapInArrow"}, key, look.passed_over).folder(os.path.join(cluster.folder, "events"))
    if not events:
        wrong.append("there are no event logs that tell of the run")
    if capture:
        # The program goes over the network too, and has lists of names in it.
        with open(project.cordon, "rb") as file:
            program = file.read()
        look.names = {name for name in names if name not in program}
        look.known.setdefault("planted", set()).add(CONTROL.encode())
        look.bytes = 0
        hits = look.file(capture.path)
        spoken = {("planted", CONTROL.encode(), how) for how in ("as it is", "hex", "base64")}
        if not spoken <= hits:
            wrong.append("what was said in clear is not in the capture")
        if hits - spoken:
            found["the network"] = hits - spoken
        of_capture = look.bytes
        os.unlink(capture.path)
    for file, hits in found.items():
        kinds = sorted({f"{kind} ({how})" for kind, _, how in hits})
        wrong.append(f"{len(hits)} identifiers in {file}: {', '.join(kinds)}")
        if args.show:
            wrong += [f"    {hit}" for hit in sorted(hits)[:20]]
    searched = sum(map(len, known.values())) + len(names)
    row = [project.name, len(rows), sum(count for _, count, _ in rows.values()), "yes" if equal else "NO"]
    row += [f"{figure:.1f}" for figure in (wall, cpu, wall_here, cpu_here)]
    return [*row, searched, of_files, of_capture if capture else "-", sum(map(len, found.values()))], wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=100_000)
    parser.add_argument("--python", default=sys.executable, help="the executors' interpreter, with pyspark")
    parser.add_argument("--capture", action="store_true", help="search the network too")
    parser.add_argument("--only", default="", help="projects whose name holds this word")
    parser.add_argument("--show", action="store_true", help="what was found: people who do not exist")
    parser.add_argument("--work", help="where the temporary folder is made")
    args = parser.parse_args()
    if not 0 < args.patients < 900_000:
        parser.error("numbers of people have six digits")
    work = tempfile.mkdtemp(prefix="cordon-spark-parity-", dir=args.work)
    table, trouble, cluster = [], [], None
    try:
        cordon = stripped(work)
        cluster = Cluster(work, os.path.abspath(args.python))
        for kind, name in ((Hospital, "hospital"), (Keyed, "keyed")):
            if args.only in name:
                row, wrong = compare(kind(cordon, work, name), cluster, args, work)
                table.append(row)
                trouble += [f"{name}: {what}" for what in wrong]
    finally:
        if cluster:
            cluster.stop()
        shutil.rmtree(work, ignore_errors=True)
    heads = ["", "tables", "rows", "equal", "Spark s", "CPU s", "here s", "CPU s", "identifiers", "bytes of files", "of network", "found"]
    widths = [10, 8, 12, 7, 9, 9, 9, 9, 13, 16, 14, 7]
    print(f"pyspark {cluster.version}, {args.patients} patients each\n")
    for line in [heads, *table]:
        print(f"{line[0]:{widths[0]}}" + "".join(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:])))
    for what in trouble:
        print(what)
    sys.exit(1 if trouble else 0)


if __name__ == "__main__":
    main()
