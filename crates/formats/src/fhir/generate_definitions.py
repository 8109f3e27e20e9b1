#!/usr/bin/env python3
"""Writes r4.txt, the element table of FHIR R4 (4.0.1), from the classes of a PyPI package.

    pip download --no-deps fhir.resources==6.2.2 && unzip fhir.resources-6.2.2-*.whl -d classes
    python3 generate_definitions.py classes/fhir/resources > r4.txt

The package's classes are generated from HL7's own StructureDefinitions (build 9346c8cc45), which are CC0; only the
names, types and cardinalities are taken. The classes are read as syntax and never imported, so nothing needs to be
installed. This is not run in CI: FHIR R4 does not change.

Form of the table: a line `Name kind` opens a type (kind: resource, type, backbone), each line below it, indented by one
blank, is an element: `name type max` and, where they apply, `choice=base` and `to=Type,Type` (targets of a reference).
Inherited elements are written out, choices are expanded (`valueQuantity`), and a contentReference names the backbone
element that it points to.
"""

import ast
import pathlib
import sys

PRIMITIVES = {
    "bool": "boolean", "Boolean": "boolean", "String": "string", "Base64Binary": "base64Binary", "Code": "code",
    "Id": "id", "Decimal": "decimal", "Integer": "integer", "UnsignedInt": "unsignedInt",
    "PositiveInt": "positiveInt", "Uri": "uri", "Oid": "oid", "Uuid": "uuid", "Canonical": "canonical", "Url": "url",
    "Markdown": "markdown", "Xhtml": "xhtml", "Date": "date", "DateTime": "dateTime", "Instant": "instant",
    "Time": "time",
}
ABSTRACT = {"FHIRAbstractModel", "FHIRResourceModel"}
NOT_INSTANTIATED = {"DomainResource", "Resource", "MetadataResource", "BackboneElement"}


def annotation(node):
    """(type name, many) of a field's annotation."""
    if isinstance(node, ast.Subscript):
        inner, many = annotation(node.slice)
        return inner, many or node.value.attr == "List"
    return (node.attr if isinstance(node, ast.Attribute) else node.id), False


def read_classes(folder):
    classes = {}
    for path in sorted(folder.glob("*.py")):
        text = path.read_text()
        if path.name.startswith(("fhir", "__")) or "Release: R4\nVersion: 4.0.1\n" not in text:
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = (path.stem, node)
    return classes


def own_elements(node):
    for field in node.body:
        if not isinstance(field, ast.AnnAssign):
            continue
        options = {word.arg: word.value for word in field.value.keywords}
        alias = options["alias"].value
        if "element_property" not in options:
            continue
        name, many = annotation(field.annotation)
        choice = options["one_of_many"].value if "one_of_many" in options else None
        targets = [t.value for t in options["enum_reference_types"].elts] if "enum_reference_types" in options else []
        yield alias, name, many, choice, targets


def elements(classes, name):
    _, node = classes[name]
    base = node.bases[0].attr if isinstance(node.bases[0], ast.Attribute) else node.bases[0].id
    inherited = list(elements(classes, base)) if base in classes and base not in ABSTRACT else []
    own = list(own_elements(node))
    names = {element[0] for element in own}
    return [element for element in inherited if element[0] not in names] + own


def bases(classes, name):
    while name in classes:
        yield name
        base = classes[name][1].bases[0]
        name = base.attr if isinstance(base, ast.Attribute) else base.id


def main():
    classes = read_classes(pathlib.Path(sys.argv[1]))
    tops = {}  # class -> FHIR name; the first class of a module with the module's name
    for name, (module, _) in classes.items():
        if name.lower() == module:
            tops[name] = name
    paths = dict(tops)
    out = {}

    def walk(name):
        lines = []
        later = []
        resource = "Resource" in bases(classes, name)
        for alias, kind, many, choice, targets in elements(classes, name):
            if alias == "id" and not resource:
                fhir = "string"  # Element.id is a string; the package has `id` since some of its releases.
            elif kind in PRIMITIVES:
                fhir = PRIMITIVES[kind]
            else:
                target = kind.removesuffix("Type")
                if target not in paths:
                    paths[target] = f"{paths[name]}.{alias}"
                    later.append(target)
                fhir = paths[target]
            line = f" {alias} {fhir} {'*' if many else '1'}"
            line += f" choice={choice}" if choice else ""
            line += f" to={','.join(targets)}" if targets and targets != ["Resource"] else ""
            lines.append(line)
        form = "backbone" if "." in paths[name] else "resource" if resource else "type"
        out[paths[name]] = [f"{paths[name]} {form}", *sorted(lines)]
        # Breadth first, so that an element is named by the place nearest to its root.
        for target in later:
            walk(target)

    for name in tops:
        if name not in NOT_INSTANTIATED:
            walk(name)
    print("# FHIR R4 (4.0.1, build 9346c8cc45), HL7, CC0. Written by generate_definitions.py; do not edit.")
    for path in sorted(out):
        print("\n".join(out[path]))


main()
