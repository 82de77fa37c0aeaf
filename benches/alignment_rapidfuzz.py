"""How well RapidFuzz's token_sort_ratio finds the object of a gold mapping: the baseline of docs/alignment.md.

    generel sql --output csv -c "SELECT c.curie, n.name FROM concepts c JOIN concept_names n USING (source, code)
        WHERE c.source = 'doid' AND NOT c.obsolete AND n.name_type IN ('label', 'exact')" > left.csv      (right.csv alike)
    python benches/alignment_rapidfuzz.py left.csv right.csv gold.tsv [--threads 2]

Gold: a table with subject_id and object_id, as `generel eval alignment` takes it; prefixes are compared without case, and
mappings between codes that the files do not have are left out. The best pair of names counts, ties go to the first
object. Prints hits@1 and the average precision of each subject's ten best objects. Needs numpy and rapidfuzz.
"""

import argparse
import csv
import gzip
import sys
from collections import defaultdict

import numpy as np
from rapidfuzz import fuzz, process, utils

PIECE = 256
KEPT = 10


def names(path):
    with open(path, newline="") as file:
        rows = [row for row in csv.reader(file)][1:]
    pairs = {(code.lower(), " ".join(sorted(utils.default_process(name).split()))) for code, name in rows}
    return sorted(pair for pair in pairs if pair[1])


def mappings(path):
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        return {(row["subject_id"].lower(), row["object_id"].lower()) for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("left")
    parser.add_argument("right")
    parser.add_argument("gold")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    left, right = names(args.left), names(args.right)
    codes = sorted({code for code, _ in right})
    number = {code: i for i, code in enumerate(codes)}
    # Sorted by code, so that the best name of each code is a reduction over a run.
    starts = np.flatnonzero(np.r_[True, [right[i][0] != right[i - 1][0] for i in range(1, len(right))]])
    of_left = defaultdict(list)
    for code, name in left:
        of_left[code].append(name)
    gold = {(s, o) for s, o in mappings(args.gold) if s in of_left and o in number}
    subjects = sorted({s for s, _ in gold})
    flat = [(s, name) for s in subjects for name in of_left[s]]
    best = {}
    for at in range(0, len(flat), PIECE):
        some = flat[at : at + PIECE]
        scores = process.cdist(
            [name for _, name in some], [name for _, name in right], scorer=fuzz.ratio, workers=args.threads, dtype=np.uint8
        )
        by_code = np.maximum.reduceat(scores, starts, axis=1)
        for (subject, _), row in zip(some, by_code):
            best[subject] = np.maximum(best[subject], row) if subject in best else row
    hits, ranked = 0, []
    for subject in subjects:
        row = best[subject]
        top = np.argsort(-row.astype(np.int16), kind="stable")[:KEPT]
        hits += (subject, codes[top[0]]) in gold
        ranked += [(int(row[i]), (subject, codes[i]) in gold) for i in top]
        best[subject] = None
    ranked.sort(key=lambda pair: -pair[0])
    found, precision = 0, 0.0
    for place, (_, right_one) in enumerate(ranked, 1):
        if right_one:
            found += 1
            precision += found / place
    print(f"{len(subjects)} subjects, {len(gold)} mappings: hits@1 {hits / len(subjects):.3f}, AUPRC {precision / len(gold):.3f}")


if __name__ == "__main__":
    sys.exit(main())
