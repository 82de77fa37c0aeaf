//! A reference genome: which of a variant's alleles is the genome's, and what the row looks like when it is not the
//! other allele. As the harmonisation of GWAS-SSF has it (Hayhurst et al. 2022): the other allele is the reference's,
//! the effect is that of the alternative.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use generel_schemas::ids::Chromosome;
use noodles_fasta::fai;
use thread_local::ThreadLocal;

use super::super::output::{Association, Output};
use super::values::complement;
use crate::{Error, Result};

/// Bases read at once: the variants of a sorted file lie near each other.
const WINDOW_BASES: u64 = 64 * 1024;
/// Chromosomes by their GWAS-SSF number, 1–25.
const CHROMOSOMES: usize = 26;

/// A FASTA file and its index.
pub(super) struct Reference {
    path: PathBuf,
    sequences: [Option<fai::Record>; CHROMOSOMES],
    windows: ThreadLocal<RefCell<Window>>,
}

/// Some bases of a chromosome, in capitals; a thread's own.
struct Window {
    file: File,
    chromosome: usize,
    /// 0-based place of the first.
    start: u64,
    bases: Vec<u8>,
}

/// How a row's alleles stand to the genome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The other allele is the genome's.
    Forward,
    /// The effect allele is.
    Turned,
    /// As [`Fit::Forward`], on the other strand.
    OtherStrand,
    /// As [`Fit::Turned`], on the other strand.
    OtherStrandTurned,
    /// Both are, as with an insertion into a repeat: which was meant cannot be told.
    Both,
    /// Neither is, on either strand.
    Neither,
    /// The genome has no such place, or an allele is symbolic.
    Unknown,
}

impl Reference {
    /// Opens a FASTA file; its index (`.fai`, as `samtools faidx` makes it) is made in memory where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is compressed, or holds no chromosome.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let wrong = |why: String| Error::format(path, 1, format!("not a reference genome: {why}"));
        let mut magic = [0; 2];
        let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
        let read = file.read(&mut magic).map_err(|e| Error::io(path, e))?;
        if read == 2 && magic == [0x1f, 0x8b] {
            return Err(wrong("it is compressed; places in it must be reached at once: gunzip it".into()));
        }
        if magic.first() != Some(&b'>') {
            return Err(wrong("expected FASTA, which begins with >".into()));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".fai");
        let index = match Path::new(&beside).exists() {
            true => fai::fs::read(&beside).map_err(|e| Error::io(&PathBuf::from(&beside), e))?,
            false => noodles_fasta::fs::index(path).map_err(|e| wrong(e.to_string()))?,
        };
        let mut sequences = [const { None }; CHROMOSOMES];
        for record in index.as_ref() {
            if let Some(place) = number(&record.name().to_string()).and_then(|n| sequences.get_mut(n)) {
                place.get_or_insert_with(|| record.clone());
            }
        }
        if sequences.iter().all(Option::is_none) {
            return Err(wrong("no sequence is called like a chromosome (1, chr1, NC_000001.11)".into()));
        }
        Ok(Self { path: path.to_path_buf(), sequences, windows: ThreadLocal::new() })
    }

    /// Adds a row to the output, told of the genome's strand and of the allele that is not the genome's, and notes what
    /// was done. A place that cannot be read counts as one that the genome lacks.
    pub(super) fn hand_on(&self, mut row: Association<'_>, out: &mut Output) {
        let place = row.chromosome.zip(row.base_pair_location);
        let fit = match (place, row.effect_allele.zip(row.other_allele)) {
            (Some((chromosome, position)), Some((effect, other))) => {
                self.fit(chromosome, position, effect, other).unwrap_or(Fit::Unknown)
            }
            _ => Fit::Unknown,
        };
        if let Some(note) = note_of(fit) {
            out.note(note);
        }
        if matches!(fit, Fit::Turned | Fit::OtherStrandTurned) {
            turn(&mut row);
        }
        if !matches!(fit, Fit::OtherStrand | Fit::OtherStrandTurned) {
            return out.association(&row);
        }
        let [effect, other] = [row.effect_allele, row.other_allele].map(|allele| allele.map(complement));
        out.association(&Association { effect_allele: effect.as_deref(), other_allele: other.as_deref(), ..row });
    }

    /// How two alleles stand to the genome at a 1-based position.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn fit(&self, chromosome: i32, position: i64, effect: &str, other: &str) -> std::io::Result<Fit> {
        let plain = |allele: &str| !allele.is_empty() && allele.bytes().all(|b| matches!(b, b'A' | b'C' | b'G' | b'T'));
        let (Ok(chromosome), Ok(position)) = (usize::try_from(chromosome), u64::try_from(position)) else {
            return Ok(Fit::Unknown);
        };
        let length = effect.len().max(other.len()) as u64;
        if !plain(effect) || !plain(other) || position == 0 || length > WINDOW_BASES {
            return Ok(Fit::Unknown);
        }
        let window = match self.windows.get() {
            Some(window) => window,
            None => {
                let empty = Window { file: File::open(&self.path)?, chromosome: 0, start: 0, bases: Vec::new() };
                self.windows.get_or(|| RefCell::new(empty))
            }
        };
        let mut window = window.borrow_mut();
        let Some(Some(sequence)) = self.sequences.get(chromosome) else { return Ok(Fit::Unknown) };
        let Some(bases) = window.at(sequence, chromosome, position - 1, length)? else { return Ok(Fit::Unknown) };
        let is = |allele: &str| bases.starts_with(allele.as_bytes());
        Ok(match (is(other), is(effect)) {
            (true, false) => Fit::Forward,
            (false, true) => Fit::Turned,
            (true, true) => Fit::Both,
            // The place of an allele of several bases on the other strand is another: only single bases are turned over.
            (false, false) if length == 1 => match (is(&complement(other)), is(&complement(effect))) {
                (true, false) => Fit::OtherStrand,
                (false, true) => Fit::OtherStrandTurned,
                _ => Fit::Neither,
            },
            (false, false) => Fit::Neither,
        })
    }
}

/// What the report says of such rows.
fn note_of(fit: Fit) -> Option<&'static str> {
    match fit {
        Fit::Forward => None,
        Fit::Turned => Some("effect turned, its allele was the reference's"),
        Fit::OtherStrand => Some("alleles complemented to the reference's strand"),
        Fit::OtherStrandTurned => Some("alleles complemented to the reference's strand and effect turned"),
        Fit::Both => Some("kept as read, both alleles fit the reference"),
        Fit::Neither => Some("kept as read, neither allele is the reference's"),
        Fit::Unknown => Some("kept as read, not comparable with the reference"),
    }
}

/// The same association, told of the other allele.
fn turn(row: &mut Association<'_>) {
    let negated = |value: Option<f64>| value.map(|value| 0.0 - value);
    let inverted = |value: Option<f64>| value.filter(|value| *value > 0.0).map(f64::recip);
    let of_ratio = row.odds_ratio.is_some() || row.hazard_ratio.is_some();
    std::mem::swap(&mut row.effect_allele, &mut row.other_allele);
    (row.beta, row.z_score) = (negated(row.beta), negated(row.z_score));
    (row.odds_ratio, row.hazard_ratio) = (inverted(row.odds_ratio), inverted(row.hazard_ratio));
    row.effect_allele_frequency = row.effect_allele_frequency.map(|frequency| 1.0 - frequency);
    (row.ci_lower, row.ci_upper) = match of_ratio {
        true => (inverted(row.ci_upper), inverted(row.ci_lower)),
        false => (negated(row.ci_upper), negated(row.ci_lower)),
    };
}

impl Window {
    /// The bases from a 0-based place to the window's end, at least `length`; `None` beyond the chromosome's.
    fn at(
        &mut self,
        sequence: &fai::Record,
        chromosome: usize,
        place: u64,
        length: u64,
    ) -> std::io::Result<Option<&[u8]>> {
        if place + length > sequence.length() {
            return Ok(None);
        }
        let inside = self.chromosome == chromosome
            && place >= self.start
            && place + length <= self.start + self.bases.len() as u64;
        if !inside {
            let (line, width) = (sequence.line_base_count().get(), sequence.line_width().get());
            let offset = |place: u64| sequence.position() + place / line * width + place % line;
            let end = (place + WINDOW_BASES).min(sequence.length());
            let mut bytes = vec![0; usize::try_from(offset(end - 1) + 1 - offset(place)).unwrap_or_default()];
            self.file.seek(SeekFrom::Start(offset(place)))?;
            self.file.read_exact(&mut bytes)?;
            bytes.retain(|byte| !byte.is_ascii_whitespace());
            bytes.make_ascii_uppercase();
            (self.chromosome, self.start, self.bases) = (chromosome, place, bytes);
        }
        Ok(usize::try_from(place - self.start).ok().and_then(|from| self.bases.get(from..)))
    }
}

/// `chr7`, `7`, `X`, and RefSeq's `NC_000007.14` for 7.
fn number(name: &str) -> Option<usize> {
    let refseq = name.strip_prefix("NC_").and_then(|rest| rest.split('.').next());
    let name = match refseq {
        Some("012920") => "MT",
        Some(digits) => digits.trim_start_matches('0'),
        None => name,
    };
    name.parse::<Chromosome>().ok().map(|chromosome| usize::from(chromosome.number()))
}

#[cfg(test)]
mod tests {
    use super::super::super::ReadOptions;
    use super::super::super::testing::{cells, options, read};
    use super::super::dialects::GWAS_SSF;
    use super::*;

    #[test]
    fn alleles_are_compared_with_the_genome() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genome.fa");
        // 1-based: 1 A, 2 C, 3 G, 4 T, 5 t, 6 t, 7 G.
        std::fs::write(&path, ">chr1 a chromosome\nACGT\nttG\n>NC_000023.11\nAC\n>scaffold_7\nA\n").unwrap();
        let reference = Reference::open(&path).unwrap();
        for (chromosome, position, effect, other, fit) in [
            (1, 1, "G", "A", Fit::Forward),
            (1, 1, "A", "G", Fit::Turned),
            (1, 2, "C", "T", Fit::Turned),
            (1, 1, "C", "T", Fit::OtherStrand),
            (1, 1, "T", "C", Fit::OtherStrandTurned),
            (1, 1, "C", "G", Fit::Neither),
            // A and T are each other's complement: what fits forward is believed.
            (1, 1, "A", "T", Fit::Turned),
            (1, 4, "T", "TTT", Fit::Both),
            (1, 4, "T", "TTTG", Fit::Both),
            (1, 3, "G", "GA", Fit::Turned),
            (1, 5, "TTC", "A", Fit::Neither),
            (1, 7, "A", "G", Fit::Forward),
            (1, 7, "A", "GG", Fit::Unknown),
            (1, 0, "A", "G", Fit::Unknown),
            (2, 1, "A", "G", Fit::Unknown),
            (23, 2, "C", "T", Fit::Turned),
            (1, 1, "<DEL>", "A", Fit::Unknown),
        ] {
            assert_eq!(reference.fit(chromosome, position, effect, other).unwrap(), fit, "{position} {effect} {other}");
        }
    }

    #[test]
    fn effects_are_turned_to_the_reference() {
        let folder = tempfile::tempdir().unwrap();
        let genome = folder.path().join("genome.fa");
        std::fs::write(&genome, format!(">1\n{}\n", "A".repeat(100))).unwrap();
        let options = ReadOptions { reference: Some(genome), ..options() };
        let header = "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\todds_ratio\t\
                      effect_allele_frequency\tp_value\tci_lower\tci_upper";
        let rows = [
            "1\t7\tG\tA\t0.5\t2\t0.25\t0.01\t1\t4",
            "1\t8\tA\tG\t0.5\t2\t0.25\t0.01\t1\t4",
            "1\t9\tT\tC\t0.5\tNA\t0.25\t0.01\t0.25\t0.75",
            "1\t10\tC\tG\t0.5\tNA\t0.25\t0.01\t0.25\t0.75",
            "2\t10\tC\tG\t0.5\tNA\t0.25\t0.01\t0.25\t0.75",
        ];
        let text = format!("{header}\n{}\n", rows.join("\n"));
        let chunks = read(&GWAS_SSF, &[("GCST7.tsv", text.as_bytes())], &options).unwrap();
        for (column, expected) in [
            ("effect_allele", ["G", "G", "G", "C", "C"]),
            ("other_allele", ["A", "A", "A", "G", "G"]),
            ("beta", ["0.5", "-0.5", "-0.5", "0.5", "0.5"]),
            ("odds_ratio", ["2.0", "0.5", "-", "-", "-"]),
            ("effect_allele_frequency", ["0.25", "0.75", "0.75", "0.25", "0.25"]),
            ("ci_lower", ["1.0", "0.25", "-0.75", "0.25", "0.25"]),
            ("ci_upper", ["4.0", "1.0", "-0.25", "0.75", "0.75"]),
        ] {
            assert_eq!(cells(&chunks, column), expected, "{column}");
        }
        let noted = [Fit::Turned, Fit::OtherStrandTurned, Fit::Neither, Fit::Unknown].map(|fit| note_of(fit).unwrap());
        let found: Vec<&str> = chunks.iter().flat_map(|chunk| chunk.noted.keys().copied()).collect();
        assert_eq!(found, noted);
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genome.fa");
        for (content, why) in [
            (b"ACGT\n".as_slice(), "expected FASTA"),
            (b"\x1f\x8b\x08\x00", "gunzip"),
            (b">scaffold\nACGT\n", "called like a chromosome"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Reference::open(&path).err().unwrap().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
