//! Ingest beside its peers: `cargo bench --bench ingest` (`-- --rows 1000000` for less, `-- gwas omop primekg` for some).
//!
//! Generates a file, then in one run: reading it decompressed and nothing else (the ceiling), `generel ingest` to a new
//! lake, and Polars and DuckDB writing typed, validated Parquet from the same file (`benches/peers.py`; needs
//! `pip install -r benches/requirements.txt`, GENEREL_BENCH_PYTHON names the interpreter). GENEREL_BENCH_BINARY names
//! another `generel` than the one just built, such as the one installed. They take turns, five times, so that what else
//! the machine does meets all of them; the best run of each counts, and beside the ratio of those stands the median of
//! the ratios turn by turn. Prints rows per second, CPU seconds and peak memory too.

#[path = "support.rs"]
mod support;

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use support::{Cost, cost, timed};

const TURNS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let rows = arguments
        .iter()
        .position(|a| a == "--rows")
        .and_then(|at| arguments.get(at + 1))
        .map_or(5_000_000, |n| n.parse().expect("--rows takes a number"));
    let wanted = |name: &str| {
        let named: Vec<&String> =
            arguments.iter().filter(|a| ["gwas", "omop", "primekg"].contains(&a.as_str())).collect();
        named.is_empty() || named.iter().any(|n| *n == name)
    };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ingest-{rows}"));
    fs::create_dir_all(&folder).expect("a folder for the files");
    println!("{rows} rows, {} cores", std::thread::available_parallelism().map_or(1, usize::from));
    println!(
        "{:<34}{:>12}{:>14}{:>9}{:>9}{:>9}{:>9}",
        "", "M rows/s", "ratio of ours", "median", "wall s", "CPU s", "MB RSS"
    );
    if wanted("gwas") {
        let plain = folder.join("sumstats.tsv");
        make(&plain, |out| sumstats(out, rows));
        let (gz, bgz) = (compressed(&plain, "gz"), compressed(&plain, "bgz"));
        for file in [&plain, &gz, &bgz] {
            compare("gwas-ssf", "gwas", file, rows, &["--trait", "benchmark"]);
        }
    }
    if wanted("omop") {
        let cdm = folder.join("cdm");
        fs::create_dir_all(&cdm).expect("a folder for the files");
        let plain = cdm.join("condition_occurrence.csv");
        make(&plain, |out| conditions(out, rows));
        compare("omop", "omop", &plain, rows, &[]);
    }
    if wanted("primekg") {
        let plain = folder.join("kg.csv");
        make(&plain, |out| edges(out, rows));
        compare("primekg", "primekg", &plain, rows, &[]);
    }
}

fn compare(format: &str, schema: &str, file: &Path, rows: u64, extra: &[&str]) {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lake = file.with_extension("lake");
    let parquet = file.with_extension("parquet");
    let python = std::env::var("GENEREL_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let peers = Path::new("../benches/peers.py");
    let (mut ours, mut others) = (Vec::new(), [("polars", Vec::new()), ("duckdb", Vec::new())]);
    for _ in 0..TURNS {
        let _ = fs::remove_dir_all(&lake);
        let mut command = timed();
        command.arg(std::env::var("GENEREL_BENCH_BINARY").unwrap_or(env!("CARGO_BIN_EXE_generel").into()));
        command.args(["ingest", "--format", format, "--source", "bench", "--lake"]).arg(&lake).args(extra).arg(file);
        command.env("GENEREL_PERSON_KEY", "benchmark benchmark");
        ours.push(cost(command).unwrap_or_else(|problem| panic!("{problem}")).0);
        for (peer, costs) in &mut others {
            let mut command = timed();
            command.arg(&python).arg(peers).args([*peer, schema]).arg(file).arg(&parquet);
            match cost(command) {
                Ok((cost, _)) => costs.push(cost),
                Err(problem) => eprintln!("{problem}"),
            }
        }
    }
    let _ = fs::remove_dir_all(&lake);
    let _ = fs::remove_file(&parquet);
    let fastest = |costs: &[Cost]| costs.iter().copied().min_by(|a, b| a.wall.total_cmp(&b.wall));
    let our_best = fastest(&ours).expect("a turn");
    let line = |what: &str, cost: Cost, median: Option<f64>| {
        let ratio = if what == "generel" { String::new() } else { format!("{:.2}x", cost.wall / our_best.wall) };
        println!(
            "{:<34}{:>12.2}{ratio:>14}{:>9}{:>9.2}{:>9.2}{:>9.0}",
            format!("{name}: {what}"),
            rows as f64 / cost.wall / 1e6,
            median.map_or_else(String::new, |median| format!("{median:.2}x")),
            cost.wall,
            cost.cpu,
            cost.rss_mb
        );
    };
    line("generel", our_best, None);
    line("reading alone (ceiling)", read_alone(file), None);
    for (peer, costs) in &others {
        let Some(best) = fastest(costs).filter(|_| costs.len() == TURNS) else {
            println!("{name}: {peer} is not there: pip install -r benches/requirements.txt");
            continue;
        };
        let mut ratios: Vec<f64> = costs.iter().zip(&ours).map(|(theirs, ours)| theirs.wall / ours.wall).collect();
        ratios.sort_by(f64::total_cmp);
        line(peer, best, Some(ratios[TURNS / 2]));
    }
}

/// Decompression by the program's own reader, and nothing else.
fn read_alone(file: &Path) -> Cost {
    let runs = (0..TURNS).map(|_| {
        let began = Instant::now();
        let place = generel_pipeline::sources::Place::local(file);
        let (mut reader, mut buffer) = (place.reader(None).expect("the file opens"), vec![0; 1 << 20]);
        while reader.read(&mut buffer).expect("the file reads") > 0 {}
        began.elapsed().as_secs_f64()
    });
    Cost { wall: runs.fold(f64::MAX, f64::min), cpu: f64::NAN, rss_mb: f64::NAN }
}

fn make(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
    if path.exists() {
        return;
    }
    let part = path.with_extension("part");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&part).expect("a file"));
    write(&mut out).and_then(|()| out.flush()).expect("the file is written");
    fs::rename(part, path).expect("the file is in place");
}

fn compressed(plain: &Path, kind: &str) -> PathBuf {
    let path = plain.with_extension(format!("tsv.{kind}"));
    make(&path, |out| {
        let mut from = File::open(plain)?;
        if kind == "gz" {
            let mut encoder = GzEncoder::new(out, Compression::new(6));
            std::io::copy(&mut from, &mut encoder)?;
            encoder.finish()?.flush()
        } else {
            let mut encoder = noodles_bgzf::io::Writer::new(out);
            std::io::copy(&mut from, &mut encoder)?;
            encoder.finish()?.flush()
        }
    });
    path
}

/// A 64-bit generator that is the same everywhere (xorshift*), so that every run reads the same file.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// GWAS-SSF in the order of a genome; a p value in a million is below 1e-308, one row in a thousand is bad.
fn sumstats(out: &mut dyn Write, rows: u64) -> std::io::Result<()> {
    let mut random = Random(42);
    writeln!(
        out,
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\t\
         p_value\trsid\tn"
    )?;
    let bases = ["A", "C", "G", "T"];
    for row in 0..rows {
        let chromosome = 1 + row * 22 / rows;
        let position = 10_000 + row % (rows / 22 + 1) * 500 + random.below(500);
        let effect = random.below(4) as usize;
        let other = (effect + 1 + random.below(3) as usize) % 4;
        let error = 0.001 + 0.05 * random.unit();
        let z = (random.unit() + random.unit() + random.unit() - 1.5) * 4.0;
        let mantissa = 1.0 + 9.0 * random.unit();
        let p = match random.below(1_000_000) {
            0 => format!("{mantissa:.4}e-{}", 309 + random.below(600)),
            n if n < 500 => "1.5".to_string(),
            n if n < 1000 => "NA".to_string(),
            n if n < 200_000 => format!("{mantissa:.4}e-{}", 2 + random.below(12)),
            _ => format!("{:.6}", 0.000_001 + 0.999 * random.unit()),
        };
        writeln!(
            out,
            "{chromosome}\t{position}\t{}\t{}\t{:.6}\t{error:.6}\t{:.5}\t{p}\trs{}\t{}",
            bases[effect],
            bases[other],
            z * error,
            random.unit(),
            1000 + random.below(900_000_000),
            400_000 + random.below(50_000)
        )?;
    }
    Ok(())
}

fn conditions(out: &mut dyn Write, rows: u64) -> std::io::Result<()> {
    let mut random = Random(7);
    writeln!(
        out,
        "condition_occurrence_id,person_id,condition_concept_id,condition_start_date,condition_start_datetime,\
         condition_end_date,condition_end_datetime,condition_type_concept_id,condition_status_concept_id,stop_reason,\
         provider_id,visit_occurrence_id,visit_detail_id,condition_source_value,condition_source_concept_id,\
         condition_status_source_value"
    )?;
    let persons = rows / 20 + 1;
    for row in 0..rows {
        let (person, concept) = (row * persons / rows, 4_000_000 + random.below(5000));
        let (year, month, day) = (2000 + random.below(24), 1 + random.below(12), 1 + random.below(28));
        let date = format!("{year}-{month:02}-{day:02}");
        let bad = if random.below(1000) == 0 { "soon" } else { date.as_str() };
        writeln!(
            out,
            "{row},{person},{concept},{bad},{date} 08:30:00,{date},,32020,,,{},{},,{},{concept},",
            random.below(1000),
            random.below(rows),
            44_054_006 + random.below(5000)
        )?;
    }
    Ok(())
}

fn edges(out: &mut dyn Write, rows: u64) -> std::io::Result<()> {
    let mut random = Random(11);
    writeln!(out, "relation,display_relation,x_index,x_id,x_type,x_name,x_source,y_index,y_id,y_type,y_name,y_source")?;
    for _ in 0..rows {
        let (gene, disease) = (random.below(30_000), random.below(20_000));
        writeln!(
            out,
            "disease_protein,associated with,{gene},{},gene/protein,GENE{gene},NCBI,{},{},disease,\"disease {disease}, type {}\",MONDO",
            gene + 1,
            30_000 + disease,
            disease + 100,
            disease % 7
        )?;
    }
    Ok(())
}
