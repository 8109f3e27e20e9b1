"""HL7 v2: parse, mask six fields of PID, write. Messages a CPU-second beside npm's node-hl7-client and hand-split Node.

    cargo xtask bench hl7v2 [--messages 20000] [--rounds 3]

Everybody gets the same messages of about 1 kB, one after the other on one core; the best of the rounds counts, as other work on the
machine only adds. What comes out of the others is compared with ours, byte for byte.
"""
import argparse
import os
import subprocess
import sys

ROOT = os.environ.get("CORDON_ROOT", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
OURS = os.path.join(TARGET, "release", "bench-hl7v2")
HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = os.path.join(TARGET, "bench-node", "node_modules")


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--messages", type=int, default=20_000)
    parse.add_argument("--rounds", type=int, default=3)
    args = parse.parse_args()

    messages = subprocess.run([OURS, "make", str(args.messages)], check=True, capture_output=True).stdout
    peer = os.path.join(HERE, "peer.cjs")
    programs = {
        "cordon": [OURS, "mask"],
        "Node, hand-split": ["node", peer, "split"],
        "node-hl7-client": ["node", peer, "node-hl7-client", MODULES],
    }
    print(f"{args.messages} messages, {len(messages) / args.messages:.0f} bytes each")
    base, expected = None, None
    for program, command in programs.items():
        best, same = 0.0, True
        for _ in range(args.rounds):
            try:
                done = subprocess.run(command, input=messages, capture_output=True)
            except FileNotFoundError as error:
                print(f"{program}: {error}", file=sys.stderr)
                break
            if done.returncode != 0:
                print(f"{program} did not run: {done.stderr.decode().strip().splitlines()[-1:]}", file=sys.stderr)
                break
            count, seconds = map(float, done.stderr.split())
            best = max(best, count / seconds)
            expected = expected or done.stdout
            same &= done.stdout == expected
        if best:
            base = base or best
            print(f"{program:20} {best:10.0f} messages/CPU-s  1/{base / best:.1f}  {'same bytes' if same else 'other bytes'}")


if __name__ == "__main__":
    main()
