//! Files behind URIs: a server that speaks S3 and checks signatures (moto, from PyPI), and a web server.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::servers::{PATIENTS, Server, free_port, kept_secret, output, python_with, same_rows, sample_patients};
use crate::support::{GOOD, Place, Ran, repository, ssf};

/// What the servers need, fetched once a target folder.
const PACKAGES: [&str; 3] = ["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];
const SECOND: &str = "2\t2000\tC\tT\t0.2\t0.02\t0.4\t1e-8\trs2";
const VARIANTS: &str = "select rsid, chromosome, base_pair_location, effect_allele, beta, neg_log_10_p_value \
    from gwas_associations order by 1, 2";

/// Python with those packages, and no settings of this machine's user.
fn python(place: &Place) -> Command {
    let mut python = python_with("moto-5.2.5", &PACKAGES, place);
    python.env("AWS_CONFIG_FILE", place.path("none")).env("AWS_SHARED_CREDENTIALS_FILE", place.path("none"));
    python
}

fn script(name: &str) -> PathBuf {
    repository().join("tests/it").join(name)
}

fn answers(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).expect("gzip");
    gzip.finish().expect("gzip")
}

/// A place with the files `stats/a.tsv.gz`, `stats/b.tsv.gz` and `stats/notes.txt`.
fn with_files() -> Place {
    let place = Place::new();
    place.write("stats/a.tsv.gz", gzip(&ssf(&[GOOD])));
    place.write("stats/b.tsv.gz", gzip(&ssf(&[SECOND])));
    place.write("stats/notes.txt", "Nothing that a program reads.\n");
    place
}

/// An S3 server whose bucket `bucket` holds the bundled patients, the files of a place, and one with an odd name.
struct S3 {
    _server: Server,
    endpoint: String,
    key: String,
    secret: String,
}

impl S3 {
    fn start(place: &Place) -> Self {
        let port = free_port();
        let mut moto = python(place);
        moto.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        // The calls that make the user; everything after them needs that user's signature.
        moto.env("INITIAL_NO_AUTH_ACTION_COUNT", "3");
        let server = Server::start(moto, &place.path("moto.log"), || answers(port));
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut fill = python(place);
        fill.arg(script("bucket.py")).arg(&endpoint);
        for file in ["a.tsv.gz", "b.tsv.gz", "notes.txt"] {
            fill.arg(format!("stats/{file}={}", place.path("stats").join(file).display()));
        }
        fill.arg(format!("odd/with space+plus.tsv.gz={}", place.path("stats/a.tsv.gz").display()));
        for table in ["PERSON", "CONDITION_OCCURRENCE", "DRUG_EXPOSURE", "MEASUREMENT", "CONCEPT"] {
            let file = repository().join(format!("jobs/sample/omop/{table}.csv.gz"));
            fill.arg(format!("cdm/{table}.csv.gz={}", file.display()));
        }
        let keys = output(&mut fill);
        let (key, secret) = keys.trim().split_once(' ').expect("a key and its secret");
        Self { _server: server, endpoint, key: key.into(), secret: secret.into() }
    }

    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = place.command(arguments);
        command.env("AWS_ENDPOINT", &self.endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", &self.key).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command.env_remove("AWS_SESSION_TOKEN").env_remove("AWS_ENDPOINT_URL");
        command
    }

    fn ingest(&self, place: &Place, format: &str, input: &str) -> Ran {
        Ran::of(self.command(place, &["ingest", "--format", format, "--source", "hospital", input]))
    }
}

fn skipped(ran: &Ran) -> usize {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stderr.matches("in the lake already").count()
}

#[test]
fn objects_give_the_rows_of_local_files() {
    let (files, objects) = (with_files(), Place::new());
    let server = S3::start(&files);
    let ran = server.ingest(&objects, "omop", "s3://bucket/cdm/");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    same_rows(&sample_patients(), &objects, PATIENTS);
    assert_eq!(skipped(&server.ingest(&objects, "omop", "s3://bucket/cdm/")), 4);
    assert_eq!(files.generel(&["ingest", "--source", "hospital", "stats/*.tsv.gz"]).code, 0);
    // One object, then one more by the prefix: what is neither is named and passed over.
    assert_eq!(skipped(&server.ingest(&objects, "gwas-ssf", "s3://bucket/stats/a.tsv.gz")), 0);
    assert_eq!(objects.value("select count(*) from gwas_associations"), "1");
    let ran = server.ingest(&objects, "auto", "s3://bucket/stats/");
    assert_eq!(skipped(&ran), 1);
    assert_eq!(ran.stderr.matches("passed over: s3://bucket/stats/notes.txt").count(), 1, "{}", ran.stderr);
    same_rows(&files, &objects, VARIANTS);
    assert_eq!(skipped(&server.ingest(&objects, "auto", "s3://bucket/odd/with%20space+plus.tsv.gz")), 1);
    let mut other = server.command(&objects, &["ingest", "--source", "hospital", "s3://bucket/stats/b.tsv.gz"]);
    other.env_remove("AWS_ENDPOINT").env("AWS_ENDPOINT_URL", &server.endpoint);
    assert_eq!(skipped(&Ran::of(other)), 1);
}

#[test]
fn a_glob_finds_objects() {
    let (files, objects) = (with_files(), Place::new());
    let server = S3::start(&files);
    assert_eq!(files.generel(&["ingest", "--source", "hospital", "stats/*.tsv.gz"]).code, 0);
    assert_eq!(skipped(&server.ingest(&objects, "gwas-ssf", "s3://bucket/stats/*.tsv.gz")), 0);
    same_rows(&files, &objects, VARIANTS);
    assert_eq!(skipped(&server.ingest(&objects, "auto", "s3://bucket/stats/?.tsv.gz")), 2);
    server.ingest(&objects, "auto", "s3://bucket/stats/*.csv").fails_with(2, &["s3://bucket/stats/*.csv", "match"]);
}

#[test]
fn what_a_store_refuses_is_named_without_its_secrets() {
    let (files, objects) = (with_files(), Place::new());
    let server = S3::start(&files);
    for (uri, code, words) in [
        ("s3://bucket/stats/c.tsv.gz", 1, "no such object"),
        ("s3://nowhere/stats/a.tsv.gz", 1, "no such object"),
        ("s3://nowhere/stats/", 1, "no such"),
        ("s3://bucket/none/", 2, "nothing is below"),
    ] {
        let ran = server.ingest(&objects, "gwas-ssf", uri);
        ran.fails_with(code, &[uri, words]);
        assert!(!ran.stderr.contains("<?xml"), "{}", ran.stderr);
    }
    const WRONG: &str = "wrong-staple-9";
    for uri in ["s3://bucket/stats/a.tsv.gz", "s3://bucket/stats/"] {
        for level in ["warn", "debug"] {
            let mut command = server.command(&objects, &["ingest", "--source", "hospital", uri]);
            command.env("AWS_SECRET_ACCESS_KEY", WRONG).env("RUST_LOG", level);
            let ran = Ran::of(command);
            ran.fails_with(1, &[uri, "permission denied", "AWS_ACCESS_KEY_ID"]);
            kept_secret(&objects, &ran, &[WRONG, &server.secret]);
        }
    }
    let mut command = server.command(&objects, &["ingest", "--source", "hospital", "s3://bucket/stats/a.tsv.gz"]);
    command.env("RUST_LOG", "debug");
    let ran = Ran::of(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    kept_secret(&objects, &ran, &[&server.secret]);
}

#[test]
fn a_web_server_gives_the_rows_of_its_files() {
    let (files, web) = (with_files(), Place::new());
    let (plain, secure) = (free_port(), free_port());
    let mut site = python(&files);
    site.arg(script("site.py")).arg(files.path("stats")).args([plain.to_string(), secure.to_string()]);
    let _server = Server::start(site, &files.path("site.log"), || answers(plain) && answers(secure));
    let ingest = |uri: &str| {
        let mut command = web.command(&["ingest", "--source", "hospital", uri]);
        command.env("SSL_CERT_FILE", files.path("site.pem"));
        Ran::of(command)
    };
    let (safe, open) = (format!("https://localhost:{secure}"), format!("http://127.0.0.1:{plain}"));
    assert_eq!(skipped(&ingest(&format!("{safe}/a.tsv.gz"))), 0);
    assert_eq!(skipped(&ingest(&format!("{safe}/a.tsv.gz"))), 1);
    assert_eq!(skipped(&ingest(&format!("{open}/b.tsv.gz"))), 0);
    assert_eq!(files.generel(&["ingest", "--source", "hospital", "stats/*.tsv.gz"]).code, 0);
    same_rows(&files, &web, VARIANTS);
    let missing = format!("{safe}/c.tsv.gz");
    ingest(&missing).fails_with(1, &[&missing, "no such object"]);
    // A user's password in a URI is for the server alone.
    let ran = ingest(&format!("https://joe:wrong-staple-9@localhost:{secure}/b.tsv.gz"));
    kept_secret(&web, &ran, &["wrong-staple-9"]);
}
