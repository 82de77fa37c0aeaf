//! A real PostgreSQL server: its tables give the rows that their CSV files give, and passwords stay where they are.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::servers::{PATIENTS, Server, free_port, kept_secret, output, same_rows, sample_patients};
use crate::support::{Place, Ran, repository};

const ADMIN_PASSWORD: &str = "admin-battery-3";
const PASSWORD: &str = "right-horse-7";
const WRONG: &str = "wrong-staple-9";

/// A server of its own, with OMOP's tables in `omop.cdm` and a user `etl` who may read them.
struct Postgres {
    place: Place,
    binaries: PathBuf,
    /// Who runs the server: it refuses to be root's.
    owner: Option<(u32, u32)>,
    port: u16,
    server: Option<Server>,
}

impl Postgres {
    fn start() -> Self {
        let place = Place::new();
        let root = place.dir.path().metadata().expect("a folder").uid() == 0;
        let password = place.write("password", ADMIN_PASSWORD);
        let mut started =
            Self { place, binaries: binaries(), owner: root.then(owner), port: free_port(), server: None };
        let (folder, data) = (started.place.dir.path(), started.place.path("data"));
        if let Some((user, group)) = started.owner {
            chown(folder, Some(user), Some(group)).expect("the folder's owner");
            chown(&password, Some(user), Some(group)).expect("the file's owner");
        }
        let mut initdb = started.command("initdb");
        initdb.args(["--username=admin", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        output(initdb.arg("--pwfile").arg(&password).arg("-D").arg(&data));
        let mut postgres = started.command("postgres");
        postgres.arg("-D").arg(&data).arg("-k").arg(folder);
        postgres.args(["-h", "127.0.0.1", "-p", &started.port.to_string(), "-c", "fsync=off"]);
        let log = started.place.path("postgres.log");
        let ready = || started.client("postgres", &["select 1"]).output().is_ok_and(|o| o.status.success());
        started.server = Some(Server::start(postgres, &log, ready));
        started.sql("postgres", &[&format!("create role etl login password '{PASSWORD}'"), "create database omop"]);
        started.sql("omop", &[include_str!("omop.sql"), "grant usage on schema cdm to etl"]);
        started.sql("omop", &["grant select on all tables in schema cdm to etl"]);
        started
    }

    fn command(&self, binary: &str) -> Command {
        let mut command = Command::new(self.binaries.join(binary));
        command.current_dir(self.place.dir.path());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn client(&self, database: &str, commands: &[&str]) -> Command {
        let mut client = Command::new(self.binaries.join("psql"));
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "admin", "-d", database]);
        client.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).env("PGPASSWORD", ADMIN_PASSWORD);
        commands.iter().for_each(|command| _ = client.args(["-c", command]));
        client
    }

    fn sql(&self, database: &str, commands: &[&str]) -> String {
        output(&mut self.client(database, commands))
    }

    /// The bundled sample, as its files say it.
    fn load_sample(&self) {
        for table in ["person", "condition_occurrence", "drug_exposure", "measurement", "concept"] {
            let name = format!("jobs/sample/omop/{}.csv.gz", table.to_uppercase());
            let packed = std::fs::File::open(repository().join(name)).expect("the sample");
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut plain).expect("gzip");
            let path = self.place.write(&format!("{table}.csv"), plain);
            self.sql("omop", &[&format!("\\copy cdm.{table} from '{}' (format csv, header)", path.display())]);
        }
    }

    /// A schema with tables like those of `cdm`, which `etl` may read.
    fn schema(&self, name: &str, commands: &[&str]) {
        self.sql("omop", &[&format!("create schema {name}")]);
        self.sql("omop", commands);
        let grants = format!("grant usage on schema {name} to etl; grant select on all tables in schema {name} to etl");
        self.sql("omop", &[&grants]);
    }

    fn uri(&self, schema: &str) -> String {
        format!("postgresql://etl@127.0.0.1:{}/omop?schema={schema}", self.port)
    }

    fn ingest(&self, place: &Place, schema: &str) -> Ran {
        let mut command = place.command(&["ingest", "--format", "omop", "--source", "hospital"]);
        command.env("GENEREL_CONNECTION", self.uri(schema)).env("PGPASSWORD", PASSWORD);
        Ran::of(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--silent", "--mode=immediate", "-D"]).arg(self.place.path("data"));
        // Where it did not start there is nothing to stop.
        let _ = stop.stderr(Stdio::null()).status();
        // Its process goes before its folder does.
        drop(self.server.take());
    }
}

/// Where the newest server of this machine is.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    let newest = found.pop().map(|(_, folder)| folder).or_else(on_path);
    newest.expect("a PostgreSQL server; install the package postgresql")
}

/// The user that the package made.
fn owner() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    let of = |name: &str| {
        let user = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = user.split(':').skip(2).map(str::parse::<u32>);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    };
    of("postgres").or_else(|| of("nobody")).expect("a user that is not root; install the package postgresql")
}

#[test]
fn a_database_gives_the_rows_of_its_csv_files_once() {
    let (server, files, tables) = (Postgres::start(), sample_patients(), Place::new());
    server.load_sample();
    let ran = server.ingest(&tables, "cdm");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    same_rows(&files, &tables, PATIENTS);
    let again = server.ingest(&tables, "cdm");
    assert_eq!((again.code, again.stderr.matches("in the lake already").count()), (0, 4), "{}", again.stderr);
    assert_eq!(tables.value("select count(*) from runs"), "1");
    server.sql("omop", &["update cdm.measurement set value_source_value = 'new' where measurement_id = 1"]);
    let changed = server.ingest(&tables, "cdm");
    assert_eq!(changed.stderr.matches("in the lake already").count(), 3, "{}", changed.stderr);
    assert_eq!(tables.value("select count(*) from patient_events where value_as_string = 'new'"), "1");
    assert_eq!(tables.value("select count(*) from patient_events"), files.value("select count(*) from patient_events"));
    let auto = Place::new();
    let mut command = auto.command(&["ingest", "--source", "hospital", "--connection", &server.uri("cdm")]);
    command.env("PGPASSWORD", PASSWORD);
    let ran = Ran::of(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    same_rows(&tables, &auto, PATIENTS);
}

#[test]
fn passwords_are_never_shown() {
    let (server, place) = (Postgres::start(), Place::new());
    server.load_sample();
    let (uri, in_uri) =
        (server.uri("cdm"), |password: &str| server.uri("cdm").replace("etl@", &format!("etl:{password}@")));
    let ways = [
        (uri, WRONG, false),
        (in_uri(WRONG), PASSWORD, false),
        (in_uri(PASSWORD), WRONG, true),
        (in_uri(PASSWORD).replace("/omop?", "/nowhere?"), PASSWORD, false),
    ];
    for (uri, password, right) in ways {
        for level in ["warn", "debug"] {
            let mut command = place.command(&["ingest", "--format", "omop", "--source", "hospital"]);
            command.env("GENEREL_CONNECTION", &uri).env("PGPASSWORD", password).env("RUST_LOG", level);
            let ran = Ran::of(command);
            if right {
                assert_eq!(ran.code, 0, "{}", ran.stderr);
            } else {
                let words =
                    if uri.contains("nowhere") { "\"nowhere\" does not exist" } else { "authentication failed" };
                ran.fails_with(1, &["postgresql://127.0.0.1:", words]);
            }
            kept_secret(&place, &ran, &[PASSWORD, WRONG]);
        }
    }
}

#[test]
fn texts_survive_whatever_is_in_them() {
    const TEXTS: [&str; 9] = [
        "say \"hi\", it's",
        "two\nlines",
        "back\\slash \\N",
        "\\.",
        "tab\there",
        "carriage\rreturn",
        "both\r\nof them",
        "µg/L – 日本 🧬",
        "NULL",
    ];
    let (server, place) = (Postgres::start(), Place::new());
    let row =
        |(day, text): (usize, &str)| format!("({0}, 1, 0, '2020-01-{0:02}', 0, 'x', $q${text}$q$, NULL)", day + 1);
    let mut rows: Vec<String> = TEXTS.into_iter().enumerate().map(row).collect();
    rows.push("(10, 1, 0, '2020-01-10', 0, NULL, NULL, '')".into());
    let columns = "measurement_id, person_id, measurement_concept_id, measurement_date, measurement_type_concept_id, \
                   measurement_source_value, value_source_value, unit_source_value";
    server.sql("omop", &[&format!("insert into cdm.measurement ({columns}) values {}", rows.join(", "))]);
    let ran = server.ingest(&place, "cdm");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sql = "select value_as_string, unit, source_code from patient_events order by event_date";
    let ran = place.generel(&["sql", "-c", sql, "--output", "json"]);
    let found: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    let row = |text: Option<&str>, code: Option<&str>| serde_json::json!({"value_as_string": text, "unit": null, "source_code": code});
    let mut expected: Vec<_> = TEXTS.iter().map(|text| row(Some(text), Some("x"))).collect();
    expected.push(row(None, None));
    assert_eq!(found, expected);
    assert_eq!(place.value("select count(*) from quarantine"), "0");
}

#[test]
fn what_is_missing_is_named() {
    let (server, place) = (Postgres::start(), Place::new());
    server.schema("few", &["create table few.note (text text)"]);
    server.ingest(&place, "few").fails_with(2, &["/omop/few", "person", "measurement"]);
    server.schema("narrow", &["create table narrow.person (person_id integer)"]);
    server.ingest(&place, "narrow").fails_with(1, &["/omop/narrow/person", "gender_concept_id"]);
    server.ingest(&place, "nowhere").fails_with(1, &["/omop/nowhere", "no tables", "?schema="]);
    server.sql("omop", &["revoke usage on schema cdm from etl"]);
    server.ingest(&place, "cdm").fails_with(1, &["/omop/cdm", "permission denied"]);
    let uri = server.uri("cdm");
    drop(server);
    place.generel(&["ingest", "--source", "hospital", &uri]).fails_with(1, &["/omop/cdm", "refused"]);
}

#[test]
fn tables_of_every_kind_and_dates_of_every_style_are_read() {
    let (server, files, tables) = (Postgres::start(), sample_patients(), Place::new());
    server.load_sample();
    server.sql("omop", &["alter role etl set datestyle = 'German'"]);
    let commands = [
        "create view kinds.person as select * from cdm.person",
        "create view kinds.concept as select * from cdm.concept",
        "create materialized view kinds.drug_exposure as select * from cdm.drug_exposure",
        "create table kinds.condition_occurrence as select * from cdm.condition_occurrence",
        "create table kinds.measurement (like cdm.measurement) partition by range (measurement_date)",
        "create table kinds.before partition of kinds.measurement for values from (minvalue) to ('2010-01-01')",
        "create table kinds.after partition of kinds.measurement for values from ('2010-01-01') to (maxvalue)",
        "insert into kinds.measurement select * from cdm.measurement",
    ];
    server.schema("kinds", &commands);
    let ran = server.ingest(&tables, "kinds");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    same_rows(&files, &tables, PATIENTS);
    // Committed by a session that stays open, and read at once.
    let mut session = server.client("omop", &[]);
    let mut session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql");
    let change = "update kinds.measurement set value_source_value = 'new' where measurement_id = 1 returning 'done';\n";
    let mut input = session.stdin.take().expect("a pipe");
    input.write_all(change.as_bytes()).expect("psql reads");
    session.stdout.take().expect("a pipe").read_exact(&mut [0; 4]).expect("psql answers");
    std::thread::sleep(Duration::from_millis(100));
    let ran = server.ingest(&tables, "kinds");
    drop(input);
    session.wait().expect("psql ends");
    assert_eq!(
        tables.value("select count(*) from patient_events where value_as_string = 'new'"),
        "1",
        "{}",
        ran.stderr
    );
}
