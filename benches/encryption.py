"""What encryption of tables costs of a whole run. Run by `cargo xtask bench encryption`.

A synthetic hospital is run through `cordon run`, which encrypts. Then `bench-encryption` writes the same rows again, in turns with
and without encryption: the difference is what a run without it would save.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--patients", type=int, default=20_000)
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()

release = os.path.join(os.environ["CORDON_TARGET"], "release")
cordon, bench = os.path.join(release, "cordon"), os.path.join(release, "examples", "bench-encryption")
work = tempfile.mkdtemp(prefix="cordon-bench-")
project = os.path.join(work, "project")


def run(*command):
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=project if os.path.isdir(project) else work, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - began, done.stdout


try:
    run(cordon, "init", "project")
    run(cordon, "synth", "data", "--patients", str(args.patients), "--clean")
    runs = []
    for _ in range(3):
        for part in ("warehouse", ".cordon/state", ".cordon/quarantine"):
            shutil.rmtree(os.path.join(project, part), ignore_errors=True)
        cpu, seconds, _ = run(cordon, "run", "nightly", "-q")
        runs.append((cpu, seconds))
    cpu = statistics.median(cpu for cpu, _ in runs)
    seconds = statistics.median(seconds for _, seconds in runs)
    told = json.loads(run(bench, project, str(args.rounds))[2])
    with_, without = told["encrypted"], told["plain"]
    cost = with_["cpu_seconds"] - without["cpu_seconds"]
    print(f"{told['rows']} rows of {args.patients} patients, medians")
    print(f"whole run, encrypted          {cpu:8.2f} CPU-s {seconds:8.2f} s")
    print(f"writing alone, encrypted      {with_['cpu_seconds']:8.2f} CPU-s {with_['seconds']:8.2f} s {with_['bytes']:>12} bytes")
    print(f"writing alone, plain          {without['cpu_seconds']:8.2f} CPU-s {without['seconds']:8.2f} s {without['bytes']:>12} bytes")
    print(f"encryption costs of the writing {100 * cost / without['cpu_seconds']:6.1f} % CPU, of the run {100 * cost / (cpu - cost):6.1f} % CPU")
finally:
    shutil.rmtree(work, ignore_errors=True)
