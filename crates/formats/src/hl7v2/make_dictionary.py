#!/usr/bin/env python3
"""Writes dictionary.txt, the segments, fields and data types of HL7 v2.1 to v2.8.2, from the tables of a PyPI package.

    pip download --no-deps hl7apy==1.3.5 && unzip hl7apy-1.3.5-*.whl -d tables
    python3 make_dictionary.py tables/hl7apy > dictionary.txt

hl7apy (CRS4) is under the MIT licence; only names, types and cardinalities are taken. Its tables are read as syntax
and never imported, so nothing needs to be installed. This is not run in CI: published versions of HL7 v2 do not change.

Form of the table: a line `segment NAME` or `type NAME` opens a definition; each line below it, indented by one blank, is
a field or component: `number name type`, then `*` where a field repeats, then for each older type `TYPE<=VERSION`, the
last version in which the field had it, newest first. The definition is the newest one that is not withdrawn: what a
version dropped is listed all the same, for older senders send it. Components have no older types: the newest holds.
"""

import ast
import pathlib
import re
import sys

VERSIONS = ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"]
WITHDRAWN = {"WD", "wd", "NUL", None}


def table(path, name):
    """The entries of the dict literal of this name."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values):
                yield key.value, value.elts


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def of_version(folder):
    """(fields, components) of one version: (owner, number) -> (name, type, repeats)."""
    fields, components = {}, {}
    types = {key: (constant(row[3]), constant(row[2])) for key, row in table(folder / "fields.py", "FIELDS")}
    for segment, entry in table(folder / "segments.py", "SEGMENTS"):
        # ('sequence', rows) but for a few withdrawn segments without rows, and one without the word.
        rows = entry[1:] and entry[1].elts if isinstance(entry[0], ast.Constant) else entry
        for row in rows:
            key, (_, most) = row.elts[0].value, ast.literal_eval(row.elts[2])
            if not re.fullmatch(rf"{segment}_\d+", key):
                continue
            name, data_type = types[key]
            fields[segment, int(key.split("_")[1])] = (name, data_type, most == -1)
    for key, row in table(folder / "datatypes.py", "DATATYPES"):
        owner, number = key.rsplit("_", 1)
        components[owner, int(number)] = (constant(row[3]), constant(row[2]), False)
    return fields, components


def merged(of_versions):
    """The newest definition that stands, and the types of older versions."""
    out = {}
    for key in sorted({key for version in of_versions for key in version}):
        known = [(v, version[key]) for v, version in zip(VERSIONS, of_versions) if key in version]
        known = [entry for entry in known if entry[1][1] not in WITHDRAWN] or known
        name, data_type, repeats = known[-1][1]
        older, newer = [], data_type
        for version, (_, was, _) in reversed(known):
            if was != newer:
                older.append(f"{was}<={version}")
                newer = was
        out[key] = (name, data_type, repeats or any(entry[1][2] for entry in known), older)
    return out


def write(kind, definitions, with_older):
    owner = None
    for (name, number), (label, data_type, repeats, older) in definitions.items():
        if name != owner:
            print(kind, name)
            owner = name
        label = re.sub(r"[^a-z0-9]+", "_", (label or "").lower()).strip("_") or "field"
        words = [number, label, "ST" if data_type in WITHDRAWN else data_type]
        words += ["*"] if repeats else []
        words += older if with_older else []
        print("", *words)


def main():
    root = pathlib.Path(sys.argv[1])
    versions = [of_version(root / f"v{version.replace('.', '_')}") for version in VERSIONS]
    print("# Segments, fields and data types of HL7 v2.1 to v2.8.2. Written by make_dictionary.py from hl7apy 1.3.5 (MIT).")
    write("segment", merged([fields for fields, _ in versions]), True)
    write("type", merged([components for _, components in versions]), False)


main()
