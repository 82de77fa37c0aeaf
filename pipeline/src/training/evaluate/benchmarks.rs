//! Benchmarks in files: pairs of terms that people have rated, and pairs that belong together.

use std::path::Path;

use csv::StringRecord;
use generel_schemas::ids::{Chromosome, Rsid};

use crate::sources::Place;
use crate::training::Variant;
use crate::{Error, Result};

/// Columns by what they are: names without case, blanks, `_` and `-`; the first is the one that errors name.
const FIRST: &[&str] = &["term1", "label1", "snomedlabel1", "name1"];
const SECOND: &[&str] = &["term2", "label2", "snomedlabel2", "name2"];
const SCORE: &[&str] = &["score", "rating", "mean", "meanrating", "relatedness", "physicians"];
const LEFT: &[&str] = &["left", "subjectlabel", "rsid", "term1"];
const RIGHT: &[&str] = &["right", "objectlabel", "trait", "term2"];
const RELATION: &[&str] = &["relation", "predicate", "predicateid"];
const ODDS_RATIO: &[&str] = &["oddsratio", "or"];
const P_VALUE: &[&str] = &["pvalue", "p"];
const NEG_LOG_10_P: &[&str] = &["neglog10pvalue", "pvaluemlog"];
const GENES: &[&str] = &["genes", "mappedgene", "gene"];
const CHROMOSOME: &[&str] = &["chromosome", "chr"];
const POSITION: &[&str] = &["basepairlocation", "position", "pos"];
/// Where [`P_VALUE`] is 0, it is below what a 64-bit float holds.
const MOST_NEG_LOG_10_P: f64 = 324.0;

/// Two things that belong together, as a file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listed {
    /// A text, or an rsID.
    pub(super) left: String,
    pub(super) right: String,
    pub(super) relation: String,
    /// |log odds ratio|.
    pub(super) effect: Option<f32>,
    pub(super) neg_log_10_p: Option<f32>,
    /// What is said of the left side, where it is an SNP.
    pub(super) variant: Option<Variant>,
}

/// A table of tab- or comma-separated values with a header; lines that begin with `#` are not of it.
struct Csv<'a> {
    path: &'a Path,
    header: Vec<String>,
    records: Vec<StringRecord>,
}

impl<'a> Csv<'a> {
    fn read(path: &'a Path) -> Result<Self> {
        let text = Place::local(path).read_to_string(None)?;
        let first = text.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
        let is_tabs = first.contains('\t');
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(if is_tabs { b'\t' } else { b',' })
            .quoting(!is_tabs)
            .comment(Some(b'#'))
            .flexible(true)
            .from_reader(text.as_bytes());
        let broken = |e: csv::Error| {
            let line = e.position().map_or(1, csv::Position::line);
            Error::format(path, line, e.to_string())
        };
        let plain = |name: &str| name.trim().to_lowercase().replace(['_', ' ', '-'], "");
        let header = reader.headers().map_err(broken)?.iter().map(plain).collect();
        let records = reader.records().collect::<std::result::Result<_, _>>().map_err(broken)?;
        Ok(Self { path, header, records })
    }

    fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.header.iter().position(|h| h == name))
    }

    /// The columns that must be there.
    fn columns<const N: usize>(&self, wanted: [&[&str]; N]) -> Result<[usize; N]> {
        let mut found = [0; N];
        for (place, names) in found.iter_mut().zip(wanted) {
            let Some(column) = self.column(names) else {
                let first: Vec<&str> = wanted.iter().map(|names| names[0]).collect();
                let problem = format!("expected columns {}; found {}", first.join(", "), self.header.join(", "));
                return Err(Error::format(self.path, 1, problem));
            };
            *place = column;
        }
        Ok(found)
    }

    /// A cell's number; `None` where it is empty or says that there is none.
    fn number(&self, record: &StringRecord, column: Option<usize>) -> Result<Option<f64>> {
        let Some(column) = column else { return Ok(None) };
        let text = cell(record, column);
        if ["", "na", "nan", "nr", "null", ".", "-"].contains(&text.to_lowercase().as_str()) {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.at(record, format!("'{}' is no number: '{text}'", self.header[column]))),
        }
    }

    fn at(&self, record: &StringRecord, problem: String) -> Error {
        Error::format(self.path, record.position().map_or(1, csv::Position::line), problem)
    }
}

fn cell(record: &StringRecord, column: usize) -> &str {
    record.get(column).unwrap_or_default().trim()
}

/// Pairs of terms with people's ratings: columns `term1`, `term2` and `score`, or what known sets call them.
///
/// # Errors
/// When the file cannot be read, has no such columns, or a score is no number.
pub(super) fn ratings(path: &Path) -> Result<Vec<(String, String, f32)>> {
    let csv = Csv::read(path)?;
    let [first, second, score] = csv.columns([FIRST, SECOND, SCORE])?;
    let rated = |record: &StringRecord| {
        let Some(score) = csv.number(record, Some(score))? else {
            return Err(csv.at(record, "the score is missing".into()));
        };
        Ok((cell(record, first).to_string(), cell(record, second).to_string(), score as f32))
    };
    csv.records.iter().map(rated).collect()
}

/// Pairs that belong together, and how many were left out because a side is empty: columns `left` and `right` (names of concepts; the left one may be an rsID), and where there
/// are such `relation`, `odds_ratio`, `p_value` or `neg_log_10_p_value`, and of SNPs `genes`, `chromosome` and
/// `base_pair_location`.
///
/// # Errors
/// When the file cannot be read, has no such columns, or what should be a number is none.
pub(super) fn pairs(path: &Path) -> Result<(Vec<Listed>, usize)> {
    let csv = Csv::read(path)?;
    let [left, right] = csv.columns([LEFT, RIGHT])?;
    let [relation, odds, p, log_p, genes, chromosome, position] =
        [RELATION, ODDS_RATIO, P_VALUE, NEG_LOG_10_P, GENES, CHROMOSOME, POSITION].map(|names| csv.column(names));
    let listed = |record: &StringRecord| {
        let (left, right) = (cell(record, left), cell(record, right));
        if left.is_empty() || right.is_empty() {
            return Ok(None);
        }
        let text = |column: Option<usize>| column.map(|column| cell(record, column)).unwrap_or_default();
        let of_p = csv.number(record, p)?.filter(|p| (0.0..=1.0).contains(p));
        let of_p = of_p.map(|p| if p > 0.0 { -p.log10() } else { MOST_NEG_LOG_10_P });
        let rsid = left.parse::<Rsid>().ok().map(|rsid| rsid.to_string());
        let variant = rsid.clone().map(|rsid| -> Result<Variant> {
            Ok(Variant {
                rsid,
                chromosome: text(chromosome).parse::<Chromosome>().ok().map(|c| c.number()),
                position: csv.number(record, position)?.map(|p| p as u32),
                genes: text(genes)
                    .split([',', ';', '|'])
                    .map(str::trim)
                    .filter(|g| !g.is_empty())
                    .map(Into::into)
                    .collect(),
                consequence: None,
            })
        });
        Ok(Some(Listed {
            left: rsid.unwrap_or_else(|| left.to_string()),
            right: right.to_string(),
            relation: text(relation).to_string(),
            effect: csv.number(record, odds)?.filter(|odds| *odds > 0.0).map(|odds| odds.ln().abs() as f32),
            neg_log_10_p: csv.number(record, log_p)?.or(of_p).map(|p| p as f32),
            variant: variant.transpose()?,
        }))
    };
    let rows = csv.records.iter().map(listed).collect::<Result<Vec<_>>>()?;
    let all = rows.len();
    let pairs: Vec<Listed> = rows.into_iter().flatten().collect();
    let left_out = all - pairs.len();
    Ok((pairs, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn ratings_by_any_known_header() {
        for header in ["Term1,Term2,Mean", "snomed_label_1,snomed_label_2,mean_rating", "TERM1,TERM2,Physicians"] {
            let file = file(&format!("{header}\n\"Heart, failing\",asthma,1.5\n"));
            assert_eq!(ratings(file.path()).unwrap(), [("Heart, failing".into(), "asthma".into(), 1.5)]);
        }
        for (text, problem) in [
            ("a,b,c\n1,2,3\n", "expected columns term1, term2, score; found a, b, c"),
            ("term1,term2,score\nx,y,1\nx,y,high\n", ":3: 'score' is no number: 'high'"),
            ("term1,term2,score\nx,y,\n", ":2: the score is missing"),
        ] {
            let error = ratings(file(text).path()).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn pairs_of_texts_and_of_snps() {
        let texts = file("# an SSSOM file\nsubject_label\tobject_label\tpredicate_id\nasthma\t\"wheezing\" 2\tx:y\n");
        let listed = pairs(texts.path()).unwrap().0;
        assert_eq!((listed[0].left.as_str(), listed[0].right.as_str()), ("asthma", "\"wheezing\" 2"));
        assert_eq!((listed[0].relation.as_str(), &listed[0].variant), ("x:y", &None));
        let snps = file(
            "rsid,trait,odds_ratio,p_value,chromosome,base_pair_location,genes\nRS7,gout,0.5,1e-9,chrX,12,A; B\nrs8,gout,NA,0,2,,\nrs9,,1,1,1,,\n",
        );
        let (listed, left_out) = pairs(snps.path()).unwrap();
        assert_eq!((listed.len(), left_out), (2, 1));
        let variant = listed[0].variant.as_ref().unwrap();
        assert_eq!((variant.rsid.as_str(), variant.chromosome, variant.position), ("rs7", Some(23), Some(12)));
        assert_eq!(variant.genes, ["A", "B"]);
        assert!((listed[0].effect.unwrap() - 2f32.ln()).abs() < 1e-6, "{listed:?}");
        assert_eq!((listed[0].neg_log_10_p, listed[1].neg_log_10_p), (Some(9.0), Some(324.0)));
        assert_eq!((listed[1].effect, listed[1].variant.as_ref().unwrap().position), (None, None));
        let error = pairs(file("rsid,trait,p\nrs1,x,y\n").path()).unwrap_err().to_string();
        assert!(error.contains(":2: 'p' is no number: 'y'"), "{error}");
    }
}
