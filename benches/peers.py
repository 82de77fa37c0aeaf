"""What DuckDB and Polars do with the same file: read it typed, keep the valid rows, write Parquet (zstd 1).

    python benches/peers.py polars|duckdb gwas|omop|primekg FILE OUT.parquet

Rows that do not parse or are out of range are dropped; neither keeps them with their line and reason, and a p value
below 1e-308 becomes 0. Used by benches/ingest.rs.
"""

import sys

GWAS = {
    "chromosome": "int",
    "base_pair_location": "int",
    "effect_allele": "str",
    "other_allele": "str",
    "beta": "float",
    "standard_error": "float",
    "effect_allele_frequency": "float",
    "p_value": "float",
    "rsid": "str",
    "n": "int",
}
OMOP = {
    "condition_occurrence_id": "int",
    "person_id": "str",
    "condition_concept_id": "int",
    "condition_start_date": "str",
    "condition_start_datetime": "str",
    "condition_end_date": "str",
    "condition_end_datetime": "str",
    "condition_type_concept_id": "int",
    "condition_status_concept_id": "str",
    "stop_reason": "str",
    "provider_id": "str",
    "visit_occurrence_id": "str",
    "visit_detail_id": "str",
    "condition_source_value": "str",
    "condition_source_concept_id": "int",
    "condition_status_source_value": "str",
}
PRIMEKG = dict.fromkeys(
    "relation display_relation x_index x_id x_type x_name x_source y_index y_id y_type y_name y_source".split(), "str"
)
SCHEMAS = {"gwas": GWAS, "omop": OMOP, "primekg": PRIMEKG}
SEPARATORS = {"gwas": "\t", "omop": ",", "primekg": ","}


def with_polars(schema, path, out):
    import polars as pl

    types = {"int": pl.Int64, "float": pl.Float64, "str": pl.String}
    frame = pl.scan_csv(
        path,
        separator=SEPARATORS[schema],
        schema={name: types[kind] for name, kind in SCHEMAS[schema].items()},
        null_values=["NA", "#NA", ""],
        quote_char=None if schema == "gwas" else '"',
    )
    column = pl.col
    if schema == "gwas":
        bases = "^[ACGTN]+$"
        frame = frame.filter(
            column("chromosome").is_between(1, 25),
            column("base_pair_location").is_between(1, 400_000_000),
            column("effect_allele").str.contains(bases),
            column("other_allele").str.contains(bases),
            column("standard_error") >= 0,
            column("effect_allele_frequency").is_between(0, 1),
            column("p_value").is_between(0, 1),
            column("rsid").str.starts_with("rs"),
        ).with_columns(neg_log_10_p_value=-column("p_value").log10(), study_id=pl.lit("bench"), source=pl.lit("bench"))
    elif schema == "omop":
        frame = frame.select(
            source=pl.lit("bench"),
            person_id=column("person_id").hash().cast(pl.String),
            event_table=pl.lit("condition_occurrence"),
            event_date=column("condition_start_date").str.to_date("%Y-%m-%d", strict=False),
            event_datetime=column("condition_start_datetime").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False),
            source_code=column("condition_source_value"),
            concept_id=column("condition_concept_id"),
        ).filter(column("event_date").is_not_null())
    else:
        frame = frame.select(
            source=pl.lit("bench"),
            subject=pl.concat_str(column("x_source"), pl.lit(":"), column("x_id")),
            subject_name=column("x_name"),
            subject_category=column("x_type"),
            predicate=column("relation"),
            object=pl.concat_str(column("y_source"), pl.lit(":"), column("y_id")),
            object_name=column("y_name"),
            object_category=column("y_type"),
        )
    frame.sink_parquet(out, compression="zstd", compression_level=1)


def with_duckdb(schema, path, out):
    import duckdb

    types = {"int": "BIGINT", "float": "DOUBLE", "str": "VARCHAR"}
    columns = ", ".join(f"'{name}': '{types[kind]}'" for name, kind in SCHEMAS[schema].items())
    quote = "" if schema == "gwas" else '"'
    gzip = ", compression='gzip'" if path.endswith(("gz", "bgz")) else ""
    table = (
        f"read_csv('{path}', delim='{SEPARATORS[schema]}', header=true, columns={{{columns}}}, quote='{quote}', "
        f"nullstr=['NA', '#NA', ''], ignore_errors=true{gzip})"
    )
    if schema == "gwas":
        query = f"""SELECT *, -log10(nullif(p_value, 0)) AS neg_log_10_p_value, 'bench' AS study_id, 'bench' AS source
            FROM {table} WHERE chromosome BETWEEN 1 AND 25 AND base_pair_location BETWEEN 1 AND 400000000
            AND regexp_full_match(effect_allele, '[ACGTN]+') AND regexp_full_match(other_allele, '[ACGTN]+')
            AND standard_error >= 0 AND effect_allele_frequency BETWEEN 0 AND 1 AND p_value BETWEEN 0 AND 1
            AND starts_with(rsid, 'rs')"""
    elif schema == "omop":
        query = f"""SELECT 'bench' AS source, hash(person_id)::VARCHAR AS person_id,
            'condition_occurrence' AS event_table, try_cast(condition_start_date AS DATE) AS event_date,
            try_cast(condition_start_datetime AS TIMESTAMP) AS event_datetime, condition_source_value AS source_code,
            condition_concept_id AS concept_id
            FROM {table} WHERE try_cast(condition_start_date AS DATE) IS NOT NULL"""
    else:
        query = f"""SELECT 'bench' AS source, x_source || ':' || x_id AS subject, x_name AS subject_name,
            x_type AS subject_category, relation AS predicate, y_source || ':' || y_id AS object,
            y_name AS object_name, y_type AS object_category FROM {table}"""
    duckdb.sql(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")


if __name__ == "__main__":
    peer, schema, path, out = sys.argv[1:]
    {"polars": with_polars, "duckdb": with_duckdb}[peer](schema, path, out)
