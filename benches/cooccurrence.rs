//! The co-occurrence stage beside its peers: `cargo bench --bench cooccurrence` (`-- --sizes 1000000x50` for one of the sizes).
//!
//! Makes patient events (events × events a person, over ten years, of 1,000 codes of which few are common), ingests them,
//! and in one run counts pairs of codes within 30 days by `generel cooccurrence`, DuckDB and Polars
//! (`benches/cooccurrence_peers.py`; needs `pip install -r benches/requirements.txt`, PEERS_PYTHON names the interpreter), each
//! from the lake's Parquet to a table that is written, Python's start and imports (about a second) among it. They take turns, three
//! times; the best run of each counts. All must find the same pairs, persons and weights.

#[path = "support.rs"]
mod support;

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Arguments, Cost, cost, python, timed};

const TURNS: usize = 3;
const CODES: usize = 1000;

fn main() {
    let arguments = Arguments::read();
    println!("{} cores", std::thread::available_parallelism().map_or(1, usize::from));
    println!("{:<24}{:>10}{:>12}{:>16}{:>10}", "", "wall s", "MB RSS", "ratio of ours", "edges");
    for size in arguments.list("--sizes", "1000000x50,10000000x100") {
        let (events, of_person) = size.split_once('x').expect("EVENTSxEVENTS_A_PERSON");
        compare(events.parse().expect("a number"), of_person.parse().expect("a number"));
    }
}

/// Pairs, and the sums of their persons and weights.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found(u64, u64, f64);

fn compare(events: usize, of_person: usize) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cooccurrence-{events}x{of_person}"));
    let lake = folder.join("lake");
    if !lake.exists() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("cdm")).expect("a folder for the files");
        make(&folder.join("cdm/CONDITION_OCCURRENCE.csv"), events, of_person).expect("the events are written");
        let part = folder.join("part");
        let mut ingest = Command::new(env!("CARGO_BIN_EXE_generel"));
        ingest.args(["ingest", "--format", "omop", "--source", "bench", "--lake"]).arg(&part).arg(folder.join("cdm"));
        let done = ingest.env("GENEREL_PERSON_KEY", "benchmark benchmark").output().expect("generel runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::rename(part, &lake).expect("the lake is whole");
    }
    let pattern = lake.join("patient_events").join("**/*.parquet");
    let mut best: Vec<(&str, Option<(Cost, Found)>)> = vec![("generel", None), ("duckdb", None), ("polars", None)];
    for _ in 0..TURNS {
        for (who, least) in &mut best {
            let mut command = timed();
            if *who == "generel" {
                // Or the lake would have them already.
                let _ = fs::remove_dir_all(lake.join("kg_edges"));
                command.arg(env!("CARGO_BIN_EXE_generel")).args(["cooccurrence", "--lake"]).arg(&lake);
            } else {
                let peer = python("cooccurrence_peers.py");
                command.arg(peer.get_program()).args(peer.get_args()).arg(*who).arg(&pattern);
                command.arg(folder.join("out.parquet"));
            }
            match cost(command).and_then(|(cost, said)| Ok((cost, found(who, &lake, &said)?))) {
                Ok(measured) if least.is_none_or(|(cost, _)| measured.0.wall < cost.wall) => *least = Some(measured),
                Ok(_) => {}
                Err(problem) => eprintln!("{who}: {problem}"),
            }
        }
    }
    let (ours, pairs) = best[0].1.expect("generel ran");
    for (who, measured) in best {
        let name = format!("{}M events: {who}", events as f64 / 1e6);
        match measured {
            Some((cost, found)) => {
                assert!(found.0 == pairs.0 && found.1 == pairs.1, "{who} found {found:?}, not {pairs:?}");
                assert!((found.2 - pairs.2).abs() < 1e-6 * pairs.2, "{who} found {found:?}, not {pairs:?}");
                let ratio = cost.wall / ours.wall;
                println!("{name:<24}{:>10.2}{:>12.0}{ratio:>15.1}x{:>10}", cost.wall, cost.rss_mb, found.0);
            }
            None => println!("{name:<24}{:>10}", "failed"),
        }
    }
}

fn found(who: &str, lake: &Path, said: &str) -> Result<Found, String> {
    let numbers = if who == "generel" {
        let mut query = Command::new(env!("CARGO_BIN_EXE_generel"));
        query.args(["sql", "--output", "csv", "--lake"]).arg(lake).args([
            "-c",
            "select count(*), sum(cast(split_part(provenance, ' ', 1) as bigint)), sum(weight) from kg_edges",
        ]);
        let output = query.output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().nth(1).ok_or("no edges")?.replace(',', " ")
    } else {
        said.lines().find_map(|line| line.strip_prefix("FOUND ")).ok_or("nothing found")?.to_string()
    };
    let mut numbers = numbers.split(' ');
    let mut next = || numbers.next().and_then(|n| n.parse::<f64>().ok()).ok_or("no number");
    Ok(Found(next()? as u64, next()? as u64, next()?))
}

/// OMOP conditions: each person has a few codes again and again, as chronic conditions are, and others once.
fn make(path: &Path, events: usize, of_person: usize) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    writeln!(
        out,
        "condition_occurrence_id,person_id,condition_concept_id,condition_start_date,condition_source_value"
    )?;
    let mut random = fastrand::Rng::with_seed(11);
    let mut own = [0; 4];
    for event in 0..events {
        if event % of_person == 0 {
            own = std::array::from_fn(|_| code(&mut random));
        }
        let code = if random.f64() < 0.4 { own[random.usize(..own.len())] } else { code(&mut random) };
        let (person, day) = (event / of_person, random.u32(..3650));
        let (year, month, day) = (2010 + day / 365, 1 + day % 365 / 31, 1 + day % 28);
        writeln!(out, "{event},{person},0,{year}-{month:02}-{day:02},C{code:04}")?;
    }
    out.flush()
}

/// A code, low numbers more often.
fn code(random: &mut fastrand::Rng) -> usize {
    (CODES as f64 * random.f64().powi(2)) as usize
}
