//! What the benches of this crate share: their arguments, the models, and peers that answer in JSON.

#![allow(dead_code, reason = "each bench uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The arguments behind `--`.
pub struct Arguments(Vec<String>);

impl Arguments {
    pub fn read() -> Self {
        Self(std::env::args().skip(1).filter(|a| a != "--bench").collect())
    }

    pub fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|a| a == flag)
    }

    pub fn value(&self, flag: &str) -> Option<String> {
        let at = self.0.iter().position(|a| a == flag)?;
        self.0.get(at + 1).cloned()
    }

    pub fn number(&self, flag: &str, default: usize) -> usize {
        self.value(flag).map_or(default, |v| v.parse().expect("a number"))
    }

    /// Words between commas; `none` is no word.
    pub fn list(&self, flag: &str, default: &str) -> Vec<String> {
        let words = self.value(flag).unwrap_or_else(|| default.to_string());
        words.split(',').filter(|w| *w != "none").map(str::to_string).collect()
    }
}

/// Where models are kept.
pub fn models() -> PathBuf {
    std::env::var_os("GENEREL_MODELS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("generel/models")
    })
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A script of this folder in the Python of PEERS_PYTHON, without variables that bend its libraries.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(std::env::var("PEERS_PYTHON").unwrap_or_else(|_| "python3".into()));
    command.arg(repository().join("benches").join(script));
    for variable in ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_NUM_THREADS"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a peer; the line of JSON that it ends with.
pub fn run(mut command: Command) -> Result<serde_json::Value, String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().rev().find(|l| l.starts_with('{'));
    last.and_then(|l| serde_json::from_str(l).ok()).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.lines().last().unwrap_or("no output").to_string()
    })
}

/// What a process cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: f64,
    pub cpu: f64,
    pub rss_mb: f64,
}

/// GNU time, which tells what a process and its threads cost: add the program and its arguments, and give it to [`cost`].
pub fn timed() -> Command {
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "COST %e %U %S %M"]);
    command
}

/// Runs what [`timed`] times: its cost and all it said.
pub fn cost(mut command: Command) -> Result<(Cost, String), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(said);
    }
    let line = said.lines().rev().find_map(|line| line.strip_prefix("COST ")).ok_or("GNU time is not there")?;
    let numbers: Vec<f64> = line.split(' ').filter_map(|n| n.parse().ok()).collect();
    let [wall, user, system, kilobytes] = numbers[..] else { return Err(said) };
    Ok((Cost { wall, cpu: user + system, rss_mb: kilobytes / 1024.0 }, said))
}
