//! Real servers for tests: each on a free port of 127.0.0.1, and gone when its test ends.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::{Place, Ran, repository};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a place's patients are, but for where they were read.
pub const PATIENTS: &str = "select event_table, person_id, event_date, event_datetime, source, source_vocabulary, \
    source_code, source_name, concept_id, value_as_number, value_as_string, unit from patient_events \
    order by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12";

/// A process that ends with its test.
pub struct Server(Child);

impl Server {
    /// Starts a server that writes to a log, and waits until it is ready.
    pub fn start(mut command: Command, log: &Path, ready: impl Fn() -> bool) -> Self {
        let log_file = File::create(log).expect("a log");
        command.stdin(Stdio::null()).stdout(log_file.try_clone().expect("a log")).stderr(log_file);
        let mut server = Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")));
        let began = Instant::now();
        while !ready() {
            let ended = server.0.try_wait().expect("a process");
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none(), "{command:?} ended: {}", said());
            assert!(began.elapsed() < PATIENCE, "{command:?} does not answer: {}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }
}

impl Server {
    /// The process's number.
    #[cfg(unix)]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a process") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}

/// What a command that must succeed writes to its standard output.
pub fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// Python with packages from PyPI, which are fetched once a target folder, whatever the machine's own has.
pub fn python_with(name: &str, packages: &[&str], place: &Place) -> Command {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let complete = folder.join("complete");
    let installing = INSTALLING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !complete.exists() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--upgrade"]);
        output(pip.arg("--target").arg(&folder).args(packages));
        std::fs::write(complete, "").expect("a file");
    }
    drop(installing);
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", folder).current_dir(place.dir.path());
    python
}

/// The bundled patients, ingested from their folder.
pub fn sample_patients() -> Place {
    let place = Place::new();
    let folder = repository().join("jobs/sample/omop");
    let folder = folder.to_str().expect("UTF-8");
    let ran = place.generel(&["ingest", "--format", "omop", "--source", "hospital", folder]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    place
}

/// Fails where two lakes differ in an ordered query, without showing thousands of rows.
pub fn same_rows(left: &Place, right: &Place, sql: &str) {
    let (left, right) = (left.rows(sql), right.rows(sql));
    let differs = left.iter().zip(&right).find(|(l, r)| l != r);
    assert!(differs.is_none() && left.len() == right.len(), "{} and {} rows: {differs:?}", left.len(), right.len());
    assert!(!left.is_empty(), "no rows: {sql}");
}

/// Every file below a folder, links not followed.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Fails where a secret stands in what a command said, in the lake's files or in its table of runs.
pub fn kept_secret(place: &Place, ran: &Ran, secrets: &[&str]) {
    let runs = place.generel(&["sql", "-c", "select * from runs", "--output", "json"]).stdout;
    let mut texts = vec![ran.stdout.clone(), ran.stderr.clone(), runs];
    for path in files_below(&place.path("lake")) {
        texts.push(String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned());
    }
    for secret in secrets {
        assert!(!texts.iter().any(|text| text.contains(secret)), "a secret is shown: {}", ran.stderr);
    }
}

/// What a server of this machine has at a path: status and text.
pub fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a server");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer)
}
