//! The first rows of summary statistics: what separates their fields, how they write alleles.

use std::io::{BufRead, Read};

use super::super::text::delimited::{Delimiter, Dialect};
use super::super::{InputFile, ReadOptions};
use super::columns::{Columns, Role, is_missing};
use crate::{Error, Result};

/// Rows looked at.
const SAMPLE_ROWS: usize = 1000;

/// The separator of a header line.
pub(super) fn separator(header: &str) -> char {
    if header.contains('\t') {
        '\t'
    } else if header.contains(',') {
        ','
    } else {
        ' '
    }
}

/// How alleles are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Letters,
    /// 1, 2, 3, 4 for A, C, G, T.
    Acgt,
    /// 1 and 2 only: PLINK's code for two alleles that the file does not name.
    Unnamed,
}

/// The first rows of a file.
pub(super) struct Sample {
    pub(super) dialect: Dialect,
    lines: Vec<String>,
}

impl Sample {
    /// Reads them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn of(file: &InputFile, options: &ReadOptions) -> Result<Self> {
        let (mut reader, mut lines) = (file.reader(options.encoding)?.take(1 << 20), Vec::new());
        while lines.len() < SAMPLE_ROWS {
            let mut bytes = Vec::new();
            let read = reader.read_until(b'\n', &mut bytes).map_err(|e| Error::read(file.path(), 1, e))?;
            if read == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').trim_end().to_string();
            if !line.is_empty() && !line.starts_with("##") {
                lines.push(line);
            }
        }
        let header = lines.first().map(String::as_str).unwrap_or_default();
        let mut dialect = match separator(header) {
            '\t' => Dialect::TSV,
            ',' => Dialect::CSV,
            _ => Dialect::BLANKS,
        };
        dialect.quoted |= header.contains('"') && dialect.delimiter != Delimiter::Blanks;
        Ok(Self { dialect: dialect.commented("##"), lines })
    }

    /// How they write alleles.
    pub(super) fn coding(&self, columns: &Columns) -> Coding {
        let alleles = [Role::EffectAllele, Role::OtherAllele].map(|role| columns.at(role));
        let (mut numeric, mut beyond_two, mut letters) = (false, false, false);
        for line in self.lines.iter().skip(1) {
            let fields: Vec<&str> = match self.dialect.delimiter {
                Delimiter::Byte(byte) => line.split(char::from(byte)).collect(),
                Delimiter::Blanks => line.split_ascii_whitespace().collect(),
            };
            for at in alleles.into_iter().flatten() {
                match fields.get(at).map(|f| f.trim()) {
                    Some("1" | "2") => numeric = true,
                    Some("3" | "4") => beyond_two = true,
                    Some(text) if !is_missing(text) && text != "0" => letters = true,
                    _ => {}
                }
            }
        }
        match (letters, beyond_two, numeric) {
            (false, true, _) => Coding::Acgt,
            (false, false, true) => Coding::Unnamed,
            _ => Coding::Letters,
        }
    }
}
