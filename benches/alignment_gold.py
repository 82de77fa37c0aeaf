"""Gold mappings of a table of cross-references, as `generel eval alignment` takes them.

    python benches/alignment_gold.py doid_NCI_xrefs.tsv.gz NCI=NCIT > doid_ncit.tsv
    python benches/alignment_gold.py 2018_I9gem.txt.gz --gem icd9cm icd10cm > icd9cm_icd10cm.tsv

A table has the columns id and xrefs (comma-separated), and A=B writes the prefix B for A. With --gem it is CMS's general
equivalence mapping: a code, a code and five flags a line, of which the second says that there is no mapping; codes get
their dots.
"""

import argparse
import csv
import gzip
import re


def opened(path):
    return gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")


def cross_references(path, prefixes):
    with opened(path) as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for xref in filter(None, re.split(r"[,\s]+", row["xrefs"])):
                prefix, _, local = xref.partition(":")
                yield row["id"], f"{prefixes.get(prefix, prefix)}:{local}"


def equivalences(path, left, right):
    def dotted(code, digits):
        return code if len(code) <= digits else f"{code[:digits]}.{code[digits:]}"

    with opened(path) as file:
        for line in file:
            source, target, flags = line.split()
            if flags[1] == "0":
                three = 4 if source.startswith("E") and left == "icd9cm" else 3
                yield f"{left}:{dotted(source, three)}", f"{right}:{dotted(target, 3)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("prefixes", nargs="*", metavar="A=B")
    parser.add_argument("--gem", nargs=2, metavar=("LEFT", "RIGHT"))
    args = parser.parse_args()
    pairs = (
        equivalences(args.table, *args.gem)
        if args.gem
        else cross_references(args.table, dict(prefix.split("=") for prefix in args.prefixes))
    )
    print("subject_id\tobject_id")
    for subject, target in dict.fromkeys(pairs):
        print(f"{subject}\t{target}")


if __name__ == "__main__":
    main()
