"""What vector libraries need to find the k nearest rows of each query: seconds, and how much of the exact result.

    python benches/similarity_peers.py faiss|faiss-avx512|usearch|torch-bf16|hnsw QUERIES.npy ROWS.npy FOUND.npy [--k 5] [--threads 2]

FOUND.npy holds the exact neighbors' indices, for the recall. Timed are building the index and the search, nothing else.
Needs benches/requirements.txt.
"""

import argparse
import json
import os
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer")
    parser.add_argument("queries")
    parser.add_argument("rows")
    parser.add_argument("found")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)

    import numpy as np

    queries, rows, exact = np.load(args.queries), np.load(args.rows), np.load(args.found)
    built = 0.0
    if args.peer.startswith("faiss"):
        import faiss

        faiss.omp_set_num_threads(args.threads)
        version = faiss.__version__
        started = time.perf_counter()
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        _, found = index.search(queries, args.k)
    elif args.peer == "usearch":
        import usearch
        from usearch.index import MetricKind, search

        version = usearch.__version__
        started = time.perf_counter()
        # In one call it wants room for all distances.
        pieces = [queries[at : at + 10_000] for at in range(0, len(queries), 10_000)]
        found = np.concatenate(
            [search(rows, piece, args.k, MetricKind.IP, exact=True, threads=args.threads).keys for piece in pieces]
        )
    elif args.peer == "torch-bf16":
        import torch

        torch.set_num_threads(args.threads)
        version = torch.__version__
        left, right = torch.from_numpy(queries), torch.from_numpy(rows)
        started = time.perf_counter()
        left, right = left.bfloat16(), right.bfloat16()
        found = torch.cat([(part @ right.T).topk(args.k).indices for part in left.split(1024)]).numpy()
    elif args.peer == "hnsw":
        import hnswlib

        version = "hnswlib"
        started = time.perf_counter()
        index = hnswlib.Index(space="ip", dim=rows.shape[1])
        index.init_index(max_elements=len(rows), ef_construction=100, M=16)
        index.set_num_threads(args.threads)
        index.add_items(rows)
        built = time.perf_counter() - started
        index.set_ef(64)
        found, _ = index.knn_query(queries, args.k)
    else:
        raise SystemExit(f"no peer {args.peer}; see --help")
    seconds = time.perf_counter() - started
    found = np.asarray(found).astype(np.int64)
    recall = np.mean([len(set(a) & set(b)) for a, b in zip(found, exact)]) / args.k
    result = {"peer": args.peer, "version": version, "seconds": round(seconds, 3), "recall": round(float(recall), 5)}
    print(json.dumps({**result, **({"build_seconds": round(built, 3)} if built else {})}))


if __name__ == "__main__":
    main()
