"""Detection beside Presidio and philter-lite: the same texts, one scorer, one session.

    cargo xtask bench detection [--data FOLDER] [--documents 120] [--seed 1000007] [--json FILE] [--only NAME]

Sets: `asq-phi` and `presidio-research` (third-party data beside the project, skipped where absent) and fresh notes of a synthetic
hospital. Peers read some hundredths of a megabyte a second: of each set everybody gets the same sample, documents drawn
with a fixed seed; Cordon reads the whole sets as well.

A token (a run of letters and digits) counts as hidden only if every one of its characters is covered. Spans that no clause of
164.514(b)(2)(i) asks to hide (a title alone, an age up to 89, a nationality, an organisation that is no employer) neither reward nor
penalise. A leak is a document in which any token of an identifier is left.
"""
import argparse
import collections
import json
import os
import random
import re
import subprocess
import sys

ROOT = os.environ.get("CORDON_ROOT", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
OURS = os.path.join(TARGET, "release", "bench-detection")
HERE = os.path.dirname(os.path.abspath(__file__))
TOKEN = re.compile(r"\w+")
NOT_CORE = {"TITLE", "NRP", "AGE", "ORGANIZATION"}


def asq(folder):
    """Tags give values without places: each stands where it is found first outside of those before it."""
    path = os.path.join(folder, "notes", "asq-phi-half.txt")
    if not os.path.exists(path):
        return None
    documents = []
    for number, record in enumerate(open(path, encoding="utf-8").read().split("===QUERY===")[1:]):
        text, tags = record.split("===PHI_TAGS===")
        text, spans = text.strip(), []
        for line in tags.splitlines():
            if not line.startswith("{"):
                continue
            tag = json.loads(line)
            at = -1
            while (at := text.find(tag["value"], at + 1)) >= 0:
                end = at + len(tag["value"])
                if not any(at < other["end"] and other["start"] < end for other in spans):
                    spans.append({"start": at, "end": end, "label": tag["identifier_type"], "core": True})
                    break
        documents.append({"id": number, "text": text, "spans": spans})
    return documents


def presidio_research(folder):
    path = os.path.join(folder, "notes", "presidio-research-synth-v2-half.json")
    if not os.path.exists(path):
        return None
    documents = []
    for number, one in enumerate(json.load(open(path, encoding="utf-8"))):
        spans = [
            {
                "start": span["start_position"],
                "end": span["end_position"],
                "label": span["entity_type"],
                "core": span["entity_type"] not in NOT_CORE,
            }
            for span in one["spans"]
        ]
        documents.append({"id": number, "text": one["full_text"], "spans": spans})
    return documents


def synthetic(seed, patients):
    out = subprocess.run([OURS, "notes", str(seed), str(patients)], check=True, capture_output=True, text=True).stdout
    documents = [json.loads(line) for line in out.splitlines()]
    for document in documents:
        for span in document["spans"]:
            years = re.match(r"\d+", document["text"][span["start"] : span["end"]])
            # The hospital marks every age; only those over 89 are identifiers.
            span["core"] = span["label"] != "age" or bool(years) and int(years.group()) > 89
        titled = lambda span: document["text"][span["start"] :].startswith("Dr. ")
        for span in [span for span in document["spans"] if span["label"] == "name" and titled(span)]:
            # It counts a title as a part of the name; alone it is no identifier.
            document["spans"].append({**span, "end": span["start"] + 4, "label": "title", "core": False})
            span["start"] += 4
    return documents


def find(command, documents):
    lines = "".join(json.dumps({"id": d["id"], "text": d["text"]}) + "\n" for d in documents)
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"  {os.path.basename(command[-1])} did not run: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    if done.stderr.startswith("philter"):
        print("  " + done.stderr.splitlines()[0])
    *found, last = done.stdout.splitlines()
    return {one["id"]: one["spans"] for one in map(json.loads, found)}, json.loads(last)["cpu"]


def score(documents, found):
    count, labels = collections.Counter(), collections.defaultdict(lambda: [0, 0])
    for document in documents:
        text, spans = document["text"], document["spans"]
        gold, covered = [None] * len(text), [False] * len(text)
        for span in sorted(spans, key=lambda span: span["core"]):
            gold[span["start"] : span["end"]] = [span] * (span["end"] - span["start"])
        for start, end, *_ in found[document["id"]]:
            covered[start:end] = [True] * (min(end, len(text)) - start)
        leak = touched = False
        for token in TOKEN.finditer(text):
            places = [at for at in range(*token.span()) if text[at].isalnum()]
            core = [at for at in places if gold[at] and gold[at]["core"]]
            if core:
                hidden = all(covered[at] for at in core)
                count["hidden" if hidden else "shown"] += 1
                labels[gold[core[0]]["label"]][0 if hidden else 1] += 1
                leak |= not hidden
            elif places and not any(gold[at] for at in places) and any(covered[at] for at in places):
                count["wrong"] += 1
                touched = True
        if any(span["core"] for span in spans):
            count["with"] += 1
            count["leaks"] += leak
        else:
            count["without"] += 1
            count["touched"] += touched
    share = lambda part, rest: part / (part + rest) if part + rest else float("nan")
    return {
        "documents": len(documents),
        "recall": share(count["hidden"], count["shown"]),
        "precision": share(count["hidden"], count["wrong"]),
        "leaks": f"{count['leaks']} of {count['with']}",
        "touched": f"{count['touched']} of {count['without']}",
        "by_label": {label: [share(*pair), sum(pair)] for label, pair in sorted(labels.items())},
    }


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--data", default=os.environ.get("CORDON_SHARED_DATA", os.path.join(ROOT, "..", "shared", "data")))
    parse.add_argument("--documents", type=int, default=120, help="of each set, for everybody")
    parse.add_argument("--seed", type=int, default=1_000_007, help="of the synthetic hospital")
    parse.add_argument("--patients", type=int, default=300)
    parse.add_argument("--json")
    parse.add_argument("--only", help="a program: cordon, presidio or philter")
    args = parse.parse_args()

    sets = {
        "asq-phi": asq(args.data),
        "presidio-research": presidio_research(args.data),
        "synthetic notes": synthetic(args.seed, args.patients),
    }
    peer = lambda name: [sys.executable, os.path.join(HERE, "peer.py"), name]
    programs = {
        "cordon": [OURS, "find"],
        "cordon, titles": [OURS, "find", "titles"],
        "cordon, titles, states": [OURS, "find", "titles", "states"],
        "philter-lite": peer("philter"),
        "presidio-analyzer": peer("presidio"),
    }
    results = []
    for name, documents in sets.items():
        if documents is None:
            print(f"{name}: skipped, no third-party data in {args.data}")
            continue
        sample = random.Random(7).sample(documents, min(args.documents, len(documents)))
        for which, chosen in (("sample", sample), ("all", documents)):
            base = None
            for program, command in programs.items():
                ours = program.startswith("cordon")
                if args.only and not program.startswith(args.only) or which == "all" and not ours:
                    continue
                done = find(command, chosen)
                if done is None:
                    continue
                found, cpu = done
                size = sum(len(document["text"].encode()) for document in chosen)
                result = {"set": name, "which": which, "program": program, "bytes": size, "cpu": cpu, **score(chosen, found)}
                result["mb_per_cpu_s"] = size / 1e6 / cpu
                base = base or result["mb_per_cpu_s"]
                result["slower"] = base / result["mb_per_cpu_s"]
                results.append(result)
                print(
                    f"{name:18} {which:6} {result['documents']:5} docs  {program:24} recall {result['recall']:.4f}  precision"
                    f" {result['precision']:.4f}  leaks {result['leaks']:12} touched {result['touched']:12}"
                    f" {result['mb_per_cpu_s']:8.3f} MB/CPU-s  1/{result['slower']:.0f}",
                    flush=True,
                )
    for result in results:
        if result["which"] == "sample" and result["program"] in ("cordon", "philter-lite", "presidio-analyzer"):
            shown = ", ".join(f"{label} {share:.3f} ({count})" for label, (share, count) in result["by_label"].items())
            print(f"\n{result['set']}, {result['program']}: {shown}")
    if args.json:
        json.dump(results, open(args.json, "w"), indent=1)


if __name__ == "__main__":
    main()
