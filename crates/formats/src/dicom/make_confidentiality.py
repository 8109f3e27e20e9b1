#!/usr/bin/env python3
"""Writes confidentiality.txt, the rows of table E.1-1 of DICOM PS3.15, from the tables of the dicom-standard project.

    git clone https://github.com/innolitics/dicom-standard
    python3 make_confidentiality.py dicom-standard/standard/confidentiality_profile_attributes.json > confidentiality.txt

dicom-standard (Innolitics) is under the MIT licence; only tags and action codes are taken, which are facts of the
standard. This is not run in CI: a new edition of the standard is taken up by hand, with what it means for policies.

Form of the table: one line an attribute, by tag: the tag as eight hexadecimal digits (`x` where any digit may stand,
`private` for every odd group), the action of the Basic Profile, then for each option that has something to say its
letter and its action: P safe private, U UIDs, D device identity, I institution identity, C patient characteristics,
F full dates, M modified dates, T descriptors, S structured content, G graphics.
"""

import json
import sys

OPTIONS = [
    ("P", "rtnSafePrivOpt"),
    ("U", "rtnUIDsOpt"),
    ("D", "rtnDevIdOpt"),
    ("I", "rtnInstIdOpt"),
    ("C", "rtnPatCharsOpt"),
    ("F", "rtnLongFullDatesOpt"),
    ("M", "rtnLongModifDatesOpt"),
    ("T", "cleanDescOpt"),
    ("S", "cleanStructContOpt"),
    ("G", "cleanGraphOpt"),
]


def main(path):
    rows = []
    for row in json.load(open(path, encoding="utf-8")):
        tag = "private" if "odd" in row["id"] else row["id"].lower()
        options = [letter + row[name] for letter, name in OPTIONS if row.get(name)]
        rows.append(" ".join([tag, row["basicProfile"], *options]))
    print("\n".join(sorted(rows)))


if __name__ == "__main__":
    main(sys.argv[1])
