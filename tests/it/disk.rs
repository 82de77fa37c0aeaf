//! A process that is killed anywhere and a disk that is full: tables stay whole, and the next run completes them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::servers::files_below;
use crate::support::{Place, Ran, SSF_HEADER};

const KILLS: usize = 20;
const ROWS: usize = 300_000;
/// Too small for the large file, large enough for the small one.
const FILE_LIMIT_BLOCKS: usize = 4096;

/// Rows that do not compress well, so that they need room.
fn large(path: &Path, rows: usize, random: &mut fastrand::Rng) {
    let mut text = format!("{SSF_HEADER}\n");
    for i in 0..rows {
        let (beta, error, p) = (random.f64() - 0.5, random.f64() + 0.1, random.f64() * 0.99 + 0.001);
        let frequency = random.f64() * 0.98 + 0.01;
        text.push_str(&format!(
            "{}\t{}\tA\tG\t{beta:.6}\t{error:.6}\t{frequency:.6}\t{p:.9}\trs{}\n",
            1 + i % 22,
            1000 + i,
            i + 1
        ));
    }
    std::fs::write(path, text).expect("a file");
}

fn ingest(place: &Place, name: &str) -> Command {
    place.command(&["ingest", "--format", "gwas-ssf", "--source", "s", name])
}

fn count(place: &Place) -> usize {
    let count: usize = place.value("select count(*) from gwas_associations").parse().expect("a number");
    assert_eq!(place.value("select count(distinct rsid) from gwas_associations"), count.to_string());
    count
}

/// Files of a table that are not its log.
fn left_over(folder: &Path) -> Vec<PathBuf> {
    let log = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "_delta_log");
    files_below(folder).into_iter().filter(|path| !log(path)).collect()
}

#[test]
fn killed_at_any_moment_a_table_holds_whole_files() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos() as u64;
    println!("seed {seed}");
    let (mut random, place, whole) = (fastrand::Rng::with_seed(seed), Place::new(), Place::new());
    let file = place.path("a.tsv");
    large(&file, ROWS, &mut random);
    std::fs::copy(&file, whole.path("a.tsv")).expect("a copy");
    let began = Instant::now();
    assert_eq!(Ran::of(ingest(&whole, "a.tsv")).code, 0);
    let whole_ms = began.elapsed().as_millis() as u64;
    let (mut before, mut rows, mut killed) = (0, ROWS, 0);
    for _ in 0..KILLS {
        let mut child =
            ingest(&place, "a.tsv").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("generel runs");
        std::thread::sleep(Duration::from_millis(random.u64(0..whole_ms)));
        child.kill().expect("killed");
        killed += usize::from(!child.wait().expect("ended").success());
        let found = if place.path("lake").exists() { count(&place) } else { 0 };
        assert!([before, rows].contains(&found), "seed {seed}: {found} rows; {before} before, {rows} in the file");
        if found == rows {
            // The content is in: the next run has a changed file, of one row more, to replace it by.
            let mut end = std::fs::OpenOptions::new().append(true).open(&file).expect("the file");
            rows += 1;
            writeln!(end, "1\t1\tA\tG\t0.1\t0.01\t0.3\t0.5\trs{rows}").expect("a row");
            before = found;
        }
    }
    assert!(killed > 0, "seed {seed}: every run ended before it was killed");
    let ran = Ran::of(ingest(&place, "a.tsv"));
    assert_eq!(ran.code, 0, "seed {seed}: {}", ran.stderr);
    assert_eq!(count(&place), rows, "seed {seed}");
    assert!(Ran::of(ingest(&place, "a.tsv")).stderr.contains("in the lake already"), "seed {seed}");
    let vacuum = place.generel(&["lake", "vacuum", "--keep-days", "0", "--force"]);
    assert_eq!(vacuum.code, 0, "{}", vacuum.stderr);
    let left = left_over(&place.path("lake/gwas_associations"));
    assert_eq!(left.len(), 1, "seed {seed}: what killed runs left is there yet: {left:?}");
    assert_eq!(count(&place), rows, "seed {seed}");
}

/// A folder with little room: a file system of its own where this process may mount one.
struct Small {
    folder: PathBuf,
    mounted: bool,
}

impl Small {
    fn new(folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).expect("a folder");
        let mounted = Self::mount(&folder, "size=8m");
        Self { folder, mounted }
    }

    fn mount(folder: &Path, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    }

    /// An ingest that has only that room: where nothing is mounted, a limit on the size of a file.
    fn ingest(&self, place: &Place, name: &str) -> Ran {
        let mut plain = ingest(place, name);
        plain.env("GENEREL_LAKE", self.folder.join("lake"));
        if self.mounted {
            return Ran::of(plain);
        }
        let mut limited = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {FILE_LIMIT_BLOCKS}; exec \"$0\" \"$@\"");
        limited.args(["-c", &script]).arg(plain.get_program()).args(plain.get_args()).current_dir(place.dir.path());
        limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ran::of(limited)
    }

    fn enlarge(&self) {
        assert!(!self.mounted || Self::mount(&self.folder, "remount,size=256m"), "a larger file system");
    }

    fn why(&self) -> &'static str {
        if self.mounted { "No space left on device" } else { "File too large" }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if self.mounted {
            // A mount that stays keeps the temporary folder, nothing else.
            let _ = Command::new("umount").arg(&self.folder).status();
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_next_run_completes() {
    let place = Place::new();
    let small = Small::new(place.path("small"));
    place.write("few.tsv", format!("{SSF_HEADER}\n1\t1\tA\tG\t0.1\t0.01\t0.3\t0.5\trs999999999\n"));
    large(&place.path("large.tsv"), 2 * ROWS, &mut fastrand::Rng::with_seed(1));
    assert_eq!(small.ingest(&place, "few.tsv").code, 0);
    let lake = small.folder.join("lake");
    let sql = |sql: &str| {
        let mut command = place.command(&["sql", "-c", sql, "--output", "csv"]);
        command.env("GENEREL_LAKE", &lake);
        let ran = Ran::of(command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout.lines().nth(1).unwrap_or_default().to_string()
    };
    let counts = "select count(*) || ' ' || count(distinct rsid) from gwas_associations";
    for _ in 0..2 {
        let ran = small.ingest(&place, "large.tsv");
        ran.fails_with(1, &[small.why(), lake.to_str().expect("UTF-8"), "gwas_associations"]);
        assert_eq!(sql(counts), "1 1");
    }
    small.enlarge();
    let mut whole = ingest(&place, "large.tsv");
    whole.env("GENEREL_LAKE", &lake);
    let ran = Ran::of(whole);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows = 2 * ROWS + 1;
    assert_eq!(sql(counts), format!("{rows} {rows}"));
    let mut vacuum = place.command(&["lake", "vacuum", "--keep-days", "0", "--force"]);
    vacuum.env("GENEREL_LAKE", &lake);
    assert_eq!(Ran::of(vacuum).code, 0);
    let left = left_over(&lake.join("gwas_associations"));
    assert_eq!(left.len(), 2, "one a file: {left:?}");
    assert_eq!(sql(counts), format!("{rows} {rows}"));
}
