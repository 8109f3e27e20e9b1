"""A server under the load of many clients, over TLS. Run by `cargo xtask bench load`.

A synthetic hospital is run through a pipeline, and `cordon serve` answers questions about it behind policies: a row filter and masks. Half of the
clients ask over HTTP and half over PostgreSQL's protocol, without a pause, and each compares each answer with the one that `cordon sql` gave
before. Then more clients than the server takes come at one time, and at last clients that ask for more than they take and vanish.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seconds", type=float, default=600)
parser.add_argument("--clients", type=int, default=200)
parser.add_argument("--patients", type=int, default=20_000)
parser.add_argument("--warm-up", type=float, default=60, help="seconds before the time counts, in which clients log in")
parser.add_argument("--memory", default="2GiB", help="run.memory of the project")
parser.add_argument("--users", type=int, default=20)
parser.add_argument("--keep", metavar="FOLDER", help="where the project is made, or is already")
args = parser.parse_args()

release = os.path.join(os.environ["CORDON_TARGET"], "release")
cordon, bench = os.path.join(release, "cordon"), os.path.join(release, "examples", "bench-load")
work = os.path.abspath(args.keep) if args.keep else tempfile.mkdtemp(prefix="cordon-load-")
project, pki = os.path.join(work, "project"), os.path.join(work, "pki")
PURPOSE = "research"
USERS = [{"name": f"analyst{n}", "password": f"seven horses in stable {n}"} for n in range(args.users)]
# Names that are asked, how often, and what with; none of their values has a comma or a quote.
QUESTIONS = [
    ("one group of the founding analysis", 5, "SELECT gender, count(*) AS n, sum(age) AS years FROM patients WHERE gender = $1 GROUP BY gender", ["F"]),
    ("the founding analysis", 4, "SELECT gender, count(*) AS n, sum(age) AS years FROM patients GROUP BY gender ORDER BY gender", []),
    ("by a masked column", 3, "SELECT race, count(*) AS n FROM patients GROUP BY race ORDER BY n DESC, race", []),
    ("a join of two tables", 2, "SELECT p.gender, count(*) AS n FROM patients p JOIN encounters e ON e.patient_id = p.patient_id WHERE p.age >= 80 GROUP BY p.gender ORDER BY p.gender", []),
    ("a million observations", 1, "SELECT category, count(*) AS n FROM observations GROUP BY category ORDER BY category", []),
    ("five thousand rows", 2, "SELECT patient_id, gender, age, mrn FROM patients ORDER BY patient_id LIMIT 5000", []),
]
ENDLESS = "SELECT a.code, b.code, c.patient_id FROM encounters a, encounters b, encounters c"


def run(*command, input=None, cwd=None, codes=(0,)):
    done = subprocess.run(command, cwd=cwd or project, capture_output=True, text=True, input=input)
    if done.returncode not in codes:
        raise SystemExit(f"{command}: {done.stderr}")
    return done.stdout


def policy(number, kind, table, columns, **items):
    values = lambda names: {"values": names, "isExcludes": False, "isRecursive": False}
    resources = {"database": values(["cordon"]), "table": values([table])}
    if columns:
        resources["column"] = values(columns)
    return {"id": number, "name": f"{number}", "version": 1, "policyType": kind, "resources": resources, **items}


def item(**more):
    purpose = {"type": "purpose-of-use", "values": [PURPOSE]}
    return {"accesses": [{"type": "select", "isAllowed": True}], "groups": ["analysts"], "conditions": [purpose], **more}


def policies():
    masks = [("mrn", "MASK_SHOW_LAST_4"), ("zip", "MASK_SHOW_FIRST_4"), ("race", "MASK")]
    return [
        policy(1, 0, "*", ["*"], policyItems=[item()]),
        policy(2, 2, "patients", [], rowFilterPolicyItems=[item(rowFilterInfo={"filterExpr": "age >= 18"})]),
        *(
            policy(3 + n, 1, "patients", [column], dataMaskPolicyItems=[item(dataMaskInfo={"dataMaskType": mask})])
            for n, (column, mask) in enumerate(masks)
        ),
    ]


def certificates():
    os.makedirs(pki)
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run("openssl", "req", "-x509", *ec, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem", *usage, cwd=pki)
    run("openssl", "req", *ec, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr", cwd=pki)
    with open(os.path.join(pki, "ext"), "w") as file:
        file.write("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth")
    sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    run("openssl", *sign, "-out", "server.pem", "-extfile", "ext", cwd=pki)


def make():
    """A project with tables, policies, users and certificates."""
    os.makedirs(work, exist_ok=True)
    certificates()
    run(cordon, "init", "project", cwd=work)
    run(cordon, "synth", "data", "--patients", str(args.patients), "--clean")
    run(cordon, "run", "nightly", "-q", codes=(0, 3))
    os.makedirs(os.path.join(project, "ranger"))
    members = [user["name"] for user in USERS]
    for name, content in [
        ("policies", {"serviceName": "clinic", "policyVersion": 1, "policies": policies()}),
        ("users", {"userStoreVersion": 1, "userGroupMapping": {name: ["analysts"] for name in members}}),
    ]:
        with open(os.path.join(project, "ranger", f"{name}.json"), "w") as file:
            json.dump(content, file)
    path = os.path.join(project, "cordon.yaml")
    with open(path) as file:
        head = file.read().split("\naccess:")[0]
    with open(path, "w") as file:
        file.write(
            head.replace("memory: 1GiB", f"memory: {args.memory}")
            + f"""
access:
  ranger: {{ service: clinic, policies: ranger/policies.json, users: ranger/users.json }}
server:
  http: 127.0.0.1:0
  postgres: 127.0.0.1:0
  metrics: 127.0.0.1:0
  tls: {{ certificate: {pki}/server.pem, key: {pki}/server.key }}
  log-in: {{ local-users: {{ file: .cordon/users.yaml }} }}
  limits: {{ connections: {args.clients + 56}, connections-of-one: {args.clients + 56}, queries: {args.clients}, queries-per-principal: {args.clients} }}
"""
        )
    for user in USERS:
        run(cordon, "serve", "user", "add", user["name"], "-q", input=user["password"] + "\n")


def known_answers():
    """By another way than the server's."""
    for name, weight, sql, parameters in QUESTIONS:
        literal = sql
        for number, value in enumerate(parameters, 1):
            literal = literal.replace(f"${number}", f"'{value}'")
        answer = run(cordon, "sql", literal, "--as", USERS[0]["name"], "--purpose", PURPOSE, "--format", "csv")
        assert answer.count("\n") > 1 and '"' not in answer, f"{name}: {answer[:200]}"
        yield {"sql": sql, "parameters": parameters, "answer": answer, "weight": weight}


class Served:
    """The server, and how much it takes, looked at twice a second."""

    def __init__(self):
        log = open(os.path.join(work, "server.log"), "w")
        command = [cordon, "serve", "--format", "json"]
        self.process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=log, text=True)
        listening = json.loads(self.process.stdout.readline())["listening"]
        self.ports = {name: int(at.rsplit(":", 1)[1]) for name, at in listening.items()}
        self.samples, self.ended = [], threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["VmRSS"].split()[0]) / 1024

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def watch(self):
        while not self.ended.wait(0.5):
            try:
                self.samples.append((time.monotonic(), self.memory()))
            except OSError:
                return

    def between(self, begin, end):
        return [mib for at, mib in self.samples if begin <= at <= end] or [self.memory()]

    def metric(self, name):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.ports['metrics']}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        return 0.0

    def stop(self):
        self.ended.set()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def load(served, questions, clients, ramp, seconds, **more):
    """What the generator tells, and the processor time that it took."""
    asked = {
        "http": served.ports["http"],
        "postgres": served.ports["postgres"],
        "ca": os.path.join(pki, "ca.pem"),
        "purpose": PURPOSE,
        "users": USERS,
        "questions": questions,
        "clients": clients,
        "ramp_seconds": ramp,
        "seconds": seconds,
        **more,
    }
    path = os.path.join(work, "load.json")
    with open(path, "w") as file:
        json.dump(asked, file)
    before = os.times()
    told = json.loads(run(bench, path))
    after = os.times()
    return told, after.children_user + after.children_system - before.children_user - before.children_system


def line(what, text):
    print(f"{what:<28}{text}", flush=True)


def told_latencies(name, one):
    line(name, f"{one['count']:7} answers, p50 {one['p50_ms']:8.0f} ms, p95 {one['p95_ms']:8.0f} ms, p99 {one['p99_ms']:8.0f} ms, most {one['most_ms']:8.0f} ms")


def quiet(served):
    """Waits until nothing runs any more; says how long that took."""
    began = time.monotonic()
    while served.metric("cordon_queries_running") or served.metric("cordon_connections"):
        if time.monotonic() - began > 120:
            return None
        time.sleep(0.1)
    return time.monotonic() - began


def main():
    if not os.path.isdir(project):
        make()
    questions = list(known_answers())
    served = Served()
    try:
        line("machine", f"{os.cpu_count()} processors, load average {' '.join(f'{one:.1f}' for one in os.getloadavg())} before")
        start = served.memory()
        cpu, began = served.cpu(), time.monotonic()
        told, generator = load(served, questions, args.clients, args.warm_up, args.seconds)
        end = time.monotonic()
        cpu = served.cpu() - cpu
        warm = began + args.warm_up
        line("load", f"{args.clients} clients for {told['seconds']:.0f} s after {args.warm_up:.0f} s in which they came")
        line("answers", f"{told['answered']} right ones, {told['answered'] / told['seconds']:.1f} a second, {told['megabytes']:.0f} MB")
        line("errors", json.dumps(told["errors"]))
        line("shed", json.dumps(told["shed"]))
        told_latencies("over HTTP", told["http"])
        told_latencies("over PostgreSQL", told["postgres"])
        for (name, *_), one in zip(QUESTIONS, told["questions"]):
            told_latencies("  " + name[:25], one)
        line("processor", f"server {cpu:.0f} s, clients {generator:.0f} s, of {(end - began) * os.cpu_count():.0f} s")
        line("load average", " ".join(f"{one:.1f}" for one in os.getloadavg()))
        tenths = [statistics.mean(served.between(warm + n * (end - warm) / 10, warm + (n + 1) * (end - warm) / 10)) for n in range(10)]
        line("memory, MiB", f"{start:.0f} at the start, {tenths[0]:.0f} after the warm-up, {tenths[-1]:.0f} at the end, {max(served.between(began, end)):.0f} at most")
        line("  by tenths of the time", " ".join(f"{mib:.0f}" for mib in tenths))
        line("places free again after", f"{quiet(served)} s, memory {served.memory():.0f} MiB")

        many = 2 * args.clients
        told, _ = load(served, questions, many, 5, min(30, args.seconds))
        line("overload", f"{many} clients at once for {told['seconds']:.0f} s, of {args.clients} that may ask and {args.clients + 56} that may connect")
        line("answers", f"{told['answered']} right ones, {told['answered'] / told['seconds']:.1f} a second")
        line("errors", json.dumps(told["errors"]))
        line("shed", json.dumps(told["shed"]))
        line("places free again after", f"{quiet(served)} s, memory {served.memory():.0f} MiB")

        before = served.memory()
        for turn in range(5):
            vanished, _ = load(served, [], args.clients // 2, 5, 0, endless=ENDLESS)
            line("vanished with rows to come", f"{vanished['vanished']} of {args.clients // 2}, places free again after {quiet(served):.1f} s, memory {before:.0f} then {served.memory():.0f} MiB")
        told, _ = load(served, questions, 2, 0, 5)
        line("and then", f"{told['answered']} right answers, errors {json.dumps(told['errors'])}")
        line("stopped", f"exit code {served.stop()}")
    finally:
        if served.process.poll() is None:
            served.process.kill()


try:
    main()
finally:
    if not args.keep:
        shutil.rmtree(work, ignore_errors=True)
