//! Members of a consumer group, each a process of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Place;

/// How long a member may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// `generel consume consumer.yaml`; killed when it is dropped.
pub struct Member {
    process: Child,
    log: std::path::PathBuf,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Member {
    /// Starts one that writes to a log of this name.
    pub fn start(place: &Place, log: &str, arguments: &[&str]) -> Self {
        Self::of(place, place.command(&[&["consume", "consumer.yaml"], arguments].concat()), log)
    }

    /// Starts one by a command.
    pub fn of(place: &Place, mut command: Command, log: &str) -> Self {
        let log = place.path(log);
        let file = std::fs::File::options().create(true).append(true).open(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { process: command.spawn().expect("generel runs"), log }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it and those before it have said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub fn runs(&mut self) {
        let ended = self.process.try_wait().expect("a process");
        assert!(ended.is_none(), "a member ended by itself: {}", self.log());
    }

    /// Waits until it has said something.
    pub fn wait_for(&mut self, words: &str) -> String {
        let began = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_string();
            }
            self.runs();
            assert!(began.elapsed() < PATIENCE, "no '{words}' in {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to end (SIGTERM), and waits until it has, without an error.
    pub fn terminate(self) -> String {
        let asked = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().expect("kill runs");
        assert!(asked.success(), "{}", self.log());
        self.ends()
    }

    /// Waits until it ends, without an error; what it has said.
    pub fn ends(mut self) -> String {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait().expect("a process") {
                assert!(status.success(), "{status}: {}", self.log());
                return self.log();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("a member does not end: {}", self.log());
    }
}
