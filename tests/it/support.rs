//! What the tests share: the real binary in a fresh folder, and small files of every format.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// A folder of its own for a lake and files.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Runs `generel` here, with this lake.
    pub fn generel(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_generel"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("GENEREL_LAKE", self.path("lake"))
            .env("GENEREL_PERSON_KEY", "a key for tests only")
            .env("GENEREL_MODELS", models())
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .env("GENEREL_PRECISION", "f32")
            .env_remove("GENEREL_DEVICE")
            .env("GENEREL_MODEL", MODEL);
        command
    }

    /// One value of a query.
    pub fn value(&self, sql: &str) -> String {
        let ran = self.generel(&["sql", "-c", sql, "--output", "csv"]);
        assert_eq!(ran.code, 0, "{sql}: {}", ran.stderr);
        ran.stdout.lines().nth(1).unwrap_or("").to_string()
    }

    /// Rows of a query as CSV without the header.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let ran = self.generel(&["sql", "-c", sql, "--output", "csv"]);
        assert_eq!(ran.code, 0, "{sql}: {}", ran.stderr);
        ran.stdout.lines().skip(1).map(str::to_string).collect()
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("generel runs");
        Self {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Fails, with exactly one line on stderr that holds all these words.
    pub fn fails_with(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let errors: Vec<&str> = self.stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        for word in words {
            assert!(errors[0].contains(word), "'{word}' is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// The user's model store; the tests that embed fetch the model into it as a user would.
pub fn models() -> PathBuf {
    match std::env::var_os("GENEREL_MODELS") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| home.join(".cache"));
            cache.join("generel").join("models")
        }
    }
}

/// The model whose vectors the tests know, whatever comes with the program.
pub const MODEL: &str = "all-MiniLM-L6-v2";

/// Fetches the tests' model, once.
pub fn pull(place: &Place) {
    let ran = place.generel(&["model", "pull", MODEL]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// The repository's folder.
pub fn repository() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| std::fs::canonicalize("..").expect("the repository"));
    &FOLDER
}

pub const OBO: &str = "format-version: 1.2\ndefault-namespace: toy\n\n\
[Term]\nid: TOY:1\nname: myocardial infarction\nsynonym: \"heart attack\" EXACT []\nxref: MSH:D009203\n\n\
[Term]\nid: TOY:2\nname: type 2 diabetes mellitus\nis_a: TOY:4 ! disease\n\n\
[Term]\nid: TOY:3\nname: fracture of wrist\n\n\
[Term]\nid: TOY:4\nname: disease\n";

pub const SSF_HEADER: &str = "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\tp_value\trsid";

/// A GWAS-SSF file of these rows.
pub fn ssf(rows: &[&str]) -> String {
    let mut text = format!("{SSF_HEADER}\n");
    for row in rows {
        text.push_str(row);
        text.push('\n');
    }
    text
}

pub const GOOD: &str = "1\t1000\tA\tG\t0.1\t0.01\t0.3\t1e-9\trs1";
