//! Style as a test: crate direction, file length, and nothing that prints or debugs in libraries.

use std::path::{Path, PathBuf};

use crate::support::repository;

const CRATES: [&str; 5] = ["schemas", "model", "udfs", "pipeline", "jobs"];
/// Lines of a file without its tests. Falls over time, never rises.
const LONGEST: usize = 400;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
    all
}

#[test]
fn crates_depend_downwards_only() {
    for (level, name) in CRATES.iter().enumerate() {
        let manifest = std::fs::read_to_string(repository().join(name).join("Cargo.toml")).expect("manifest");
        for higher in &CRATES[level + 1..] {
            assert!(!manifest.contains(&format!("generel-{higher}")), "{name} depends on {higher}");
        }
    }
    let model = std::fs::read_to_string(repository().join("model/Cargo.toml")).expect("manifest");
    for absent in ["datafusion", "deltalake", "rdkafka", "clap"] {
        assert!(!model.contains(absent), "model depends on {absent}");
    }
}

#[test]
fn files_are_short_and_libraries_do_not_print() {
    for name in CRATES {
        for path in sources(&repository().join(name).join("src")) {
            let text = std::fs::read_to_string(&path).expect("source");
            let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or("");
            let lines = code.lines().count();
            assert!(lines <= LONGEST, "{}: {lines} lines", path.display());
            for banned in ["dbg!(", "println!(", "todo!(", "unimplemented!("] {
                assert!(!code.contains(banned), "{}: {banned}", path.display());
            }
        }
    }
}

#[test]
fn every_sql_name_has_its_slt_file() {
    for name in [
        "embed",
        "embed_snp",
        "cosine_similarity",
        "concept_similarity",
        "as_vector",
        "similarity_join",
        "nearest",
        "identifiers",
    ] {
        assert!(repository().join(format!("tests/sql/{name}.slt")).exists(), "{name}");
    }
}
