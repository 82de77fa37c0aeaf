//! Says which commit the program is built from, where there is a repository: a trained model's manifest names it.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    for file in ["HEAD", "refs/heads", "packed-refs"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|p| std::path::Path::new(p).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // What is not committed is part of the program, too.
    for folder in ["src", "../model/src", "../pipeline/src", "../schemas/src", "../udfs/src"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    let more = if changed { " with changes" } else { "" };
    let commit = git(&["rev-parse", "HEAD"]).map(|commit| commit + more).unwrap_or_default();
    println!("cargo::rustc-env=GENEREL_COMMIT={commit}");
}
