//! SQL for other programs, as they use it: the ADBC driver for Flight SQL in Python.

use std::process::Command;

use crate::servers::{Server, free_port, output, python_with};
use crate::support::{OBO, Place, Ran, pull, repository};

const PACKAGES: [&str; 3] = ["adbc-driver-flightsql==1.13.0", "adbc-driver-manager==1.13.0", "pyarrow==25.0.0"];

fn python(place: &Place) -> Command {
    python_with("adbc-1.13.0", &PACKAGES, place)
}

/// A server of a place's lake, ready to be asked, and where it is.
fn serve(place: &Place, port: u16, arguments: &[&str], token: Option<&str>) -> Server {
    let address = format!("127.0.0.1:{port}");
    let mut command = place.command(&[&["serve", "--address", &address], arguments].concat());
    command.envs(token.map(|token| ("GENEREL_TOKEN", token)));
    Server::start(command, &place.path("log"), || std::net::TcpStream::connect(&address).is_ok())
}

fn with_concepts() -> Place {
    let place = Place::new();
    pull(&place);
    place.write("toy.obo", OBO);
    let ran = place.generel(&["ingest", "--source", "TOY", "toy.obo"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    place
}

#[test]
fn python_embeds_queries_and_sees_what_comes_in() {
    let place = with_concepts();
    let port = free_port();
    let mut server = serve(&place, port, &[], None);
    let uri = format!("grpc://127.0.0.1:{port}");

    let example = output(python(&place).arg(repository().join("examples/python/flight_sql.py")).arg(&uri));
    assert!(example.contains("4 names, 384 components, model_id ") && example.contains("-f32"), "{example}");
    assert!(example.contains("'heart attack':\n  0.") && example.contains("myocardial infarction\n"), "{example}");

    let script = place.write("client.py", CLIENT);
    let ran = place.write("more.obo", OBO.replace("TOY:", "MORE:"));
    let said = output(python(&place).arg(&script).arg(&uri).env("MORE", ran).env("GENEREL", generel_of(&place)));
    assert_eq!(said.trim(), "done", "{said}");

    #[cfg(unix)]
    {
        output(Command::new("kill").args(["-TERM", &server.id().to_string()]));
        assert!(server.wait().success());
    }
}

/// A script that runs `generel` as the place does.
fn generel_of(place: &Place) -> std::path::PathBuf {
    let lake = place.path("lake");
    place.write("generel.sh", format!("GENEREL_LAKE={} exec {} \"$@\"", lake.display(), env!("CARGO_BIN_EXE_generel")))
}

const CLIENT: &str = r#"
import os, subprocess, sys, time
import adbc_driver_flightsql.dbapi as flight_sql

with flight_sql.connect(sys.argv[1], autocommit=True) as lake, lake.cursor() as cursor:
    def rows(sql, parameters=None):
        cursor.execute(sql, parameters)
        return cursor.fetchall()

    # Placeholders in both spellings, values of several types.
    assert rows("SELECT ? AS a, ? AS b, '?' AS c", ("x", 5)) == [("x", 5, "?")]
    [(same,)] = rows("SELECT concept_similarity('Heart  attack', $1)", ("Heart attack",))
    assert abs(same - 1) < 1e-6, same
    assert rows("SELECT count(*) FROM (SELECT embed(name) v FROM concepts) WHERE v IS NOT NULL") == [(4,)]

    # Its operator is in the plan.
    assert "EmbedExec" in str(rows("EXPLAIN SELECT embed(name) FROM concepts")), "EXPLAIN"

    # What drivers and notebooks ask.
    tables = lake.adbc_get_objects(depth="tables").read_all().to_pylist()
    names = [t["table_name"] for c in tables for s in c["catalog_db_schemas"] for t in s["db_schema_tables"]]
    assert {"concepts", "mappings", "embeddings", "patient_events"} <= set(names), names
    assert lake.adbc_get_table_schema("concepts").names[0] == "source"
    assert lake.adbc_get_info()["vendor_name"] == "GENEREL"

    # Nothing writes, and what is wrong is said.
    for sql, words in {
        "SELECT nope FROM concepts": "No field named nope",
        "SELEC 1": "found: SELEC",
        "CREATE TABLE t AS SELECT 1": "DDL not supported",
        "COPY (SELECT 1) TO 'x.parquet'": "DML not supported",
        "DROP TABLE concepts": "DDL not supported",
        "SET datafusion.execution.batch_size = 1": "Statement not supported",
        "SELECT embed(1)": "embed",
    }.items():
        try:
            rows(sql)
        except Exception as error:
            assert words in str(error), (sql, str(error))
        else:
            raise AssertionError(f"{sql} ran")

    # What is committed while the server runs.
    ingest = ["sh", os.environ["GENEREL"], "ingest", "--source", "MORE", os.environ["MORE"]]
    subprocess.run(ingest, check=True, capture_output=True)
    for _ in range(100):
        if rows("SELECT count(*) FROM concepts") == [(8,)]:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the server does not see new rows")
print("done")
"#;

#[test]
fn strangers_are_kept_out() {
    let place = with_concepts();
    // Open to other machines, without a token.
    let open = place.generel(&["serve", "--address", "0.0.0.0:0"]);
    open.fails_with(1, &["0.0.0.0:0", "GENEREL_TOKEN"]);
    place.write("key.pem", "no key");
    let damaged =
        place.generel(&["serve", "--address", "127.0.0.1:0", "--tls-cert", "none.pem", "--tls-key", "key.pem"]);
    damaged.fails_with(1, &["none.pem"]);
    assert_eq!(place.generel(&["serve", "--tls-cert", "key.pem"]).code, 2);

    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    output(openssl.arg("-keyout").arg(place.path("key.pem")).arg("-out").arg(place.path("cert.pem")));
    let port = free_port();
    let _server = serve(&place, port, &["--tls-cert", "cert.pem", "--tls-key", "key.pem"], Some("a secret of tests"));
    let script = place.write("client.py", STRANGER);
    let ask = |token: &str| {
        let mut python = python(&place);
        python.arg(&script).arg(format!("grpc+tls://localhost:{port}")).env("CERT", place.path("cert.pem"));
        Ran::of({
            python.env("TOKEN", token);
            python
        })
    };
    let (guest, stranger) = (ask("a secret of tests"), ask("another"));
    assert!(guest.code == 0 && guest.stdout.contains("[(2,)]"), "{guest:?}");
    assert!(stranger.code != 0 && stranger.stderr.contains("a bearer token is needed"), "{stranger:?}");
    let log = std::fs::read_to_string(place.path("log")).expect("a log");
    assert!(!log.contains("a secret of tests"), "{log}");
}

const STRANGER: &str = r#"
import os, sys
import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions

options = {
    DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer " + os.environ["TOKEN"],
    DatabaseOptions.TLS_ROOT_CERTS.value: open(os.environ["CERT"]).read(),
}
with flight_sql.connect(sys.argv[1], db_kwargs=options, autocommit=True) as lake, lake.cursor() as cursor:
    cursor.execute("SELECT 1 + 1")
    print(cursor.fetchall())
"#;
