"""Persons by pair of codes within 30 days, as `generel cooccurrence` counts them: python cooccurrence_peers.py duckdb|polars
PARQUET_GLOB OUT.parquet. Persons and codes are made numbers first and rare codes left out before pairs are made, as one who
knows these engines would. Used by benches/cooccurrence.rs.
"""

import sys

WINDOW, LEAST = 30, 11


def with_duckdb(files, out):
    import duckdb

    db = duckdb.connect()
    db.execute(f"""
        CREATE TEMP TABLE raw AS SELECT person_id, source_code AS code, event_date FROM read_parquet('{files}')
        WHERE source_code IS NOT NULL AND event_date IS NOT NULL AND event_table <> 'person';
        CREATE TEMP TABLE persons AS SELECT person_id, row_number() OVER () AS p FROM (SELECT DISTINCT person_id FROM raw);
        CREATE TEMP TABLE codes AS SELECT code, (row_number() OVER (ORDER BY code))::INTEGER AS c
            FROM (SELECT DISTINCT code FROM raw);
        CREATE TEMP TABLE all_events AS SELECT DISTINCT p::INTEGER AS p, c, (event_date - DATE '1970-01-01')::INTEGER AS d
            FROM raw JOIN persons USING (person_id) JOIN codes USING (code);
        CREATE TEMP TABLE frequent AS SELECT c FROM all_events GROUP BY c HAVING count(DISTINCT p) >= {LEAST};
        CREATE TEMP TABLE events AS SELECT *, d // {WINDOW + 1} AS bucket FROM all_events WHERE c IN (SELECT c FROM frequent);
    """)
    # Within the window is the same bucket of days or a neighbouring one.
    db.execute(f"""
        COPY (
            WITH pairs AS (
                SELECT DISTINCT a.p, a.c AS a, b.c AS b
                FROM (SELECT *, bucket + o AS near FROM events, (VALUES (-1), (0), (1)) AS v(o)) a
                JOIN events b ON a.p = b.p AND a.near = b.bucket AND a.c < b.c AND abs(a.d - b.d) <= {WINDOW}
            ),
            cells AS (SELECT a, b, count(*) AS n FROM pairs GROUP BY a, b HAVING count(*) >= {LEAST}),
            sums AS (SELECT c, sum(n) AS n FROM (SELECT a AS c, n FROM cells UNION ALL SELECT b, n FROM cells) GROUP BY c)
            SELECT ca.code AS subject, cb.code AS object, cells.n AS n,
                ln(cells.n::DOUBLE * (SELECT sum(n) FROM sums) / (sa.n::DOUBLE * sb.n)) AS weight
            FROM cells JOIN sums sa ON sa.c = a JOIN sums sb ON sb.c = b
            JOIN codes ca ON ca.c = a JOIN codes cb ON cb.c = b
            WHERE cells.n::HUGEINT * (SELECT sum(n) FROM sums)::HUGEINT > sa.n::HUGEINT * sb.n::HUGEINT
        ) TO '{out}' (FORMAT parquet)""")
    return db.execute(f"SELECT count(*), sum(n)::BIGINT, sum(weight) FROM read_parquet('{out}')").fetchone()


def with_polars(files, out):
    import polars as pl

    col = pl.col
    raw = (
        pl.scan_parquet(files)
        .filter(col("source_code").is_not_null(), col("event_date").is_not_null(), col("event_table") != "person")
        .select("person_id", code="source_code", d=col("event_date").to_physical())
        .with_columns(p=col("person_id").rank("dense").cast(pl.UInt32), c=col("code").rank("dense").cast(pl.UInt32))
        .collect()
    )
    names = raw.select("code", "c").unique().sort("c")
    events = raw.select("p", "c", "d").unique()
    del raw
    frequent = events.group_by("c").agg(n=col("p").n_unique()).filter(col("n") >= LEAST)
    events = events.join(frequent.select("c"), on="c", how="semi").sort("p").with_columns(bucket=col("d") // (WINDOW + 1))
    # The pairs of all persons at once do not fit into memory: some at a time, whole persons.
    ends = events["p"].rle().struct.field("len").cum_sum().to_list()
    parts, first = [], 0
    for i, end in enumerate(ends):
        if end - first < 500_000 and i + 1 < len(ends):
            continue
        some = events.slice(first, end - first).lazy()
        first = end
        near = pl.concat([some.with_columns(bucket=col("bucket") + o) for o in (-1, 0, 1)])
        parts.append(
            near.join(some, on=["p", "bucket"], suffix="_b")
            .filter(col("c") < col("c_b"), (col("d") - col("d_b")).abs() <= WINDOW)
            .select("p", "c", "c_b")
            .unique()
            .group_by("c", "c_b")
            .len()
            .collect()
        )
    cells = pl.concat(parts).group_by("c", "c_b").agg(n=col("len").sum().cast(pl.Int64)).filter(col("n") >= LEAST)
    sides = pl.concat([cells.select("c", "n"), cells.select(c="c_b", n="n")]).group_by("c").agg(col("n").sum())
    total = sides["n"].sum()
    cells = (
        cells.join(sides.rename({"n": "na"}), on="c")
        .join(sides.rename({"n": "nb", "c": "c_b"}), on="c_b")
        .filter(col("n") * total > col("na") * col("nb"))
        .with_columns(weight=(col("n").cast(pl.Float64) * total / (col("na").cast(pl.Float64) * col("nb"))).log())
        .join(names.rename({"code": "subject"}), on="c")
        .join(names.rename({"code": "object", "c": "c_b"}), on="c_b")
        .select("subject", "object", "n", "weight")
    )
    cells.write_parquet(out)
    return cells.height, cells["n"].sum(), cells["weight"].sum()


if __name__ == "__main__":
    peer, files, out = sys.argv[1:]
    edges, persons, weight = {"duckdb": with_duckdb, "polars": with_polars}[peer](files, out)
    print(f"FOUND {edges} {persons} {weight:.3f}")
