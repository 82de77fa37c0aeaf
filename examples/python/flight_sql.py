"""GENEREL's SQL from Python: tables and functions of a lake over Arrow Flight SQL.

    pip install adbc-driver-flightsql adbc-driver-manager pyarrow
    generel serve --lake LAKE &
    python examples/python/flight_sql.py [grpc://127.0.0.1:31337]

GENEREL_TOKEN is sent as a bearer token where the server asks for one.
"""

import os
import sys

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions


def main(uri="grpc://127.0.0.1:31337"):
    options = {}
    if token := os.environ.get("GENEREL_TOKEN"):
        options[DatabaseOptions.AUTHORIZATION_HEADER.value] = f"Bearer {token}"
    with flight_sql.connect(uri, db_kwargs=options, autocommit=True) as lake, lake.cursor() as cursor:
        cursor.execute("SELECT name, embed(name) AS vector FROM concepts ORDER BY code LIMIT 10")
        table = cursor.fetch_arrow_table()
        field = table.schema.field("vector")
        print(f"{table.num_rows} names, {field.type.list_size} components, model_id {field.metadata[b'generel.model_id'].decode()}")

        question = "heart attack"
        cursor.execute(
            "SELECT name, concept_similarity(name, ?) AS similarity FROM concepts ORDER BY similarity DESC LIMIT 3",
            (question,),
        )
        print(f"nearest to '{question}':")
        for name, similarity in cursor.fetchall():
            print(f"  {similarity:.3f}  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
